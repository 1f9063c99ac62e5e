"""Rows fewer than their features: solved in their own space, certified in the given one."""

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal
from test_proximal import certified
from test_solvers import Data, check_against_qp, check_result, clusters, distance

from skattrib._svm import crammer_singer as solver
from skattrib._svm import row_space
from skattrib._svm.crammer_singer import crammer_singer, crammer_singer_path
from skattrib._svm.search import Search


def wide(n=24, d=150, K=4, seed=0, rank=6):
    """Rows that a few directions explain for the most part, as genes do: ascent stalls on them."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, rank)) @ rng.normal(size=(rank, d)) + 0.02 * rng.normal(size=(n, d))
    return Data(X.astype(np.float32).astype(np.float64), np.arange(n) % K, K)


@pytest.fixture
def calls(monkeypatch):
    """How often rows were taken to their own space."""
    seen, original = [], row_space.square_rows

    def counted(X, rows):
        seen.append(len(rows))
        return original(X, rows)

    monkeypatch.setattr(row_space, "square_rows", counted)
    return seen


@pytest.mark.parametrize("columns", [1, 3, 10**6])
def test_square_rows_have_the_inner_products_of_the_rows(columns, monkeypatch):
    monkeypatch.setattr(row_space, "COLUMNS", columns)
    monkeypatch.setattr(row_space, "FEWEST", 1)
    X = wide().X
    X[3] = X[4]
    rows = np.array([7, 3, 4, 0, 20])
    L = row_space.square_rows(X, rows)
    assert L.shape == (5, 5)
    gram = X[rows] @ X[rows].T
    assert_allclose(L @ L.T, gram, rtol=0, atol=1e-13 * gram.max())


@pytest.mark.parametrize("layout", ["dense32", "dense64"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("K", [2, 4, 20])
def test_agrees_with_qp_solver_and_without_it(K, bias, layout, calls, monkeypatch):
    data = wide(K=K)
    data.bias = bias
    C = data.C(3e3)
    data = data.laid_out(layout)
    monkeypatch.setattr(solver, "PATIENCE", 3)
    r = data.solve(C)
    assert calls
    check_result(data, C, r)
    assert r.converged
    check_against_qp(data, C, r)
    del calls[:]
    monkeypatch.setattr(row_space, "MOST_ROWS", 0)
    plain = data.solve(C)
    assert not calls
    assert distance(r, plain.coef, plain.intercept) <= certified(r) + certified(plain)


def test_the_certificate_is_that_of_the_given_rows(calls, monkeypatch):
    """Wrong square rows lead to a gap that is not met, and to a search that goes on."""
    data = wide()
    C = data.C(3e3)
    monkeypatch.setattr(solver, "PATIENCE", 3)
    counted = row_space.square_rows
    monkeypatch.setattr(row_space, "square_rows", lambda X, rows: 1.1 * counted(X, rows))
    for max_iter in (20, 3000):
        r = data.solve_short(C, max_iter=max_iter)
        check_result(data, C, r)
    assert calls and r.converged


def test_equal_rows_rows_without_weight_and_rows_of_zeros(calls, monkeypatch):
    data = wide(n=30)
    data.X[5:10], data.y[5:10] = data.X[:5], data.y[:5]
    data.X[11] = 0.0
    data.s = np.linspace(0.5, 2.0, 30)
    data.s[3] = 0.0
    C = data.C(3e3)
    monkeypatch.setattr(solver, "PATIENCE", 3)
    for canonical in (False, True):
        r = data.solve(C, canonical=canonical)
        check_result(data, C, r)
        for i in (0, 1, 2, 4):
            assert_allclose(
                r.dual[i] * data.s[i + 5], r.dual[i + 5] * data.s[i], rtol=1e-12, atol=0
            )
        assert_array_equal(r.dual[3], 0.0)
    assert set(calls) == {24}


def test_canonical_duals_are_those_without_it(calls, monkeypatch):
    monkeypatch.setattr(solver, "PATIENCE", 3)
    data = wide(n=30)
    # more rows than directions: duals are not unique
    data.X[20:] = data.X[:10] + data.X[10:20]
    C = data.C(1e3)
    r = data.solve(C, tol=1e-6, canonical=True)
    assert calls
    other = data.solve(C, tol=1e-6, canonical=True, random_state=7)
    monkeypatch.setattr(row_space, "MOST_ROWS", 0)
    plain = data.solve(C, tol=1e-6, canonical=True)
    for s in (other, plain):
        assert_allclose(s.dual, r.dual, rtol=0, atol=1e-6 * abs(r.dual).max())


def test_a_path_and_a_warm_start(calls, monkeypatch):
    monkeypatch.setattr(solver, "PATIENCE", 3)
    data = wide()
    Cs = [data.C(c) for c in (1.0, 1e3, 1e4)]
    for C, r in zip(Cs, crammer_singer_path(data.X, data.y, Cs=Cs, random_state=0), strict=True):
        r.dual = r.dual.toarray()
        check_result(data, C, r, tol=1e-4)
    assert len(calls) == 3
    again = crammer_singer(data.X, data.y, Cs[2], dual_init=r.dual, random_state=0)
    assert again.converged and again.n_iter <= 2


def test_tall_and_sparse_rows_stay_where_they_are(calls):
    X, y = clusters(60, 6, 3)
    for data, engine in ((Data(X, y, 3), "proximal"), (wide().laid_out("csr64"), "proximal")):
        search = Search(data.X, data.y, data.C(100.0), data.K, None, 0.0, None)
        solver._solve(search, None, 1e-6, 1000, 1, 0, False, engine)
        assert search.solved(1e-6)
    assert not calls


@pytest.mark.parametrize("layout", ["csr32", "csr64"])
@pytest.mark.parametrize("K", [3, 20])
@pytest.mark.parametrize("difficulty", [1.0, 1e4])
def test_wide_sparse_rows_agree_with_dense_ones(K, layout, difficulty):
    rng = np.random.default_rng(1)
    X = np.where(rng.random((60, 900)) < 0.03, rng.random((60, 900)), 0.0)
    data = Data(X.astype(np.float32).astype(np.float64), np.arange(60) % K, K, bias=True)
    C = data.C(difficulty)
    dense, r = data.solve(C), data.laid_out(layout).solve(C)
    check_result(data.laid_out(layout), C, r)
    assert r.converged
    assert distance(r, dense.coef, dense.intercept) <= certified(r) + certified(dense)
    f = reference.decision_function(r.coef, r.intercept, X)
    assert (np.argmax(f, axis=1) == data.y).all() or difficulty == 1.0
