"""The size of the constant feature: that of a column in full, and the unit of the rows."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from test_proximal import certified
from test_solvers import (
    HERE,
    LAYOUTS,
    Data,
    check_result,
    clusters,
    distance,
    instruction_set,
    real,
)

from skattrib._svm import crammer_singer as solver
from skattrib._svm.crammer_singer import crammer_singer, crammer_singer_path
from skattrib._svm.search import Search

SIZES = (2.0**-6, 0.75, 24.0)
every_layout = pytest.mark.parametrize("layout", LAYOUTS)
every_code_path = pytest.mark.parametrize(
    "kernels, layout", [(kernels, layout) for kernels in HERE for layout in LAYOUTS]
)


def as_column(r, size):
    """The result as one of the problem whose rows have the constant feature as a column."""
    coef = np.column_stack([r.coef, r.intercept / size])
    return replace(r, coef=coef, intercept=np.zeros(len(coef)))


@every_code_path
@pytest.mark.parametrize(
    # large columns of many classes take a while
    "K, size",
    [*((K, size) for K in (3, 17) for size in SIZES), (70, 0.75)],
)
@pytest.mark.parametrize("engine", ["auto", "proximal"])
def test_is_a_column_of_that_size(K, kernels, layout, size, engine):
    X, y = clusters(90, 7, K, seed=K)
    X[5] = 0.0
    data = Data(X, y, K, np.linspace(0.5, 2.0, len(y))).laid_out(layout)
    explicit = replace(data, X=np.column_stack([X, np.full(len(y), size)])).laid_out(layout)
    C = explicit.C(3.0)
    with instruction_set(kernels):
        search = Search(data.X, y, C, K, data.s, size, None)
        r = search.result(solver._solve(search, None, 1e-5, 3000, 1, 0, False, engine), 1e-5)
    assert r.converged and np.any(r.intercept)
    check_result(explicit, C, as_column(r, size), tol=1e-5)
    plain = explicit.solve(C, tol=1e-5)
    off = distance(as_column(r, size), plain.coef, 0.0)
    assert off <= certified(r) + certified(plain)


@pytest.mark.parametrize("difficulty", [1.0, 100.0])
@pytest.mark.parametrize("factor", [3e-7, 1e-3, 7.0, 1e5])
@pytest.mark.parametrize("name", ["iris", "digits"])
def test_rows_in_another_unit_have_the_same_decision_values(name, factor, difficulty):
    data, t = real(name), factor
    C = data.C(difficulty)
    options = {"fit_intercept": True, "tol": 1e-8, "random_state": 0}
    one = crammer_singer(data.X, data.y, C, **options)
    other = crammer_singer(data.X * t, data.y, C / t**2, intercept_scaling=t, **options)
    f = data.X @ one.coef.T + one.intercept
    assert_allclose((data.X * t) @ other.coef.T + other.intercept, f, rtol=0, atol=1e-8)
    used, shares = np.any(one.dual, axis=1), np.abs(other.dual).max(axis=1) * t**2 / C
    assert (shares[~used] <= 1e-8).all() and (shares[used] > 0).mean() > 0.99


@every_code_path
@pytest.mark.parametrize("K, difficulty", [(3, 1.0), (3, 100.0), (17, 10.0), (70, 1.0)])
def test_units_of_two_have_the_same_bits(K, kernels, layout, difficulty):
    data = Data(*clusters(120 if K < 70 else 80, 7, K, seed=K), K).laid_out(layout)
    C = data.C(difficulty)
    # canonical duals of many classes take a while
    options = {"fit_intercept": True, "tol": 1e-6, "random_state": 0, "canonical": K < 70}
    units = (2.0**-10, 2.0**7) if layout.endswith("32") else (2.0**-40, 2.0**-10, 2.0**30)
    with instruction_set(kernels):
        one = crammer_singer(data.X, data.y, C, intercept_scaling=1.5, **options)
        others = [
            crammer_singer(
                data.X * data.X.dtype.type(t),
                data.y,
                C / t**2,
                intercept_scaling=1.5 * t,
                **options,
            )
            for t in units
        ]
    for t, other in zip(units, others, strict=True):
        assert abs(other.dual * t**2 - one.dual).max() == 0
        assert_array_equal(other.coef * t, one.coef)
        assert_array_equal(other.intercept, one.intercept)
        assert other.n_iter == one.n_iter and other.gap == one.gap


@every_layout
@pytest.mark.parametrize("K", [3, 17])
def test_a_path_and_a_warm_start_go_on_from_the_intercept(K, layout):
    data = Data(*clusters(150, 6, K, seed=2), K).laid_out(layout)
    Cs = [data.C(1.0), data.C(200.0)]
    options = {"fit_intercept": True, "intercept_scaling": 4.0, "random_state": 0}
    easy, hard = crammer_singer_path(data.X, data.y, Cs=Cs, tol=1e-5, **options)
    explicit = replace(
        data, X=np.column_stack([data.laid_out("dense64").X, np.full(len(data.y), 4.0)])
    )
    for C, r in zip(Cs, (easy, hard), strict=True):
        check_result(explicit, C, replace(as_column(r, 4.0), dual=r.dual.toarray()), tol=1e-5)
    ratio = Cs[1] / Cs[0]
    coef = np.column_stack([easy.coef, easy.intercept])
    warm = crammer_singer(
        data.X, data.y, Cs[1], tol=1e-5, dual_init=easy.dual * ratio, coef_init=coef, **options
    )
    # exactly the second problem of the path: a power of two divides without rounding
    assert_array_equal(warm.coef, hard.coef)
    assert warm.n_iter == hard.n_iter


@pytest.mark.parametrize("size", [0.0, -1.0, np.nan, np.inf, "1", None])
def test_sizes_that_are_none_are_refused(size):
    X, y = clusters(9, 2, 3)
    with pytest.raises(ValueError, match="intercept_scaling"):
        crammer_singer(X, y, 1.0, fit_intercept=True, intercept_scaling=size)
    with pytest.raises(ValueError, match="intercept_scaling"):
        crammer_singer_path(X, y, Cs=[1.0], fit_intercept=True, intercept_scaling=size)


@every_layout
@pytest.mark.parametrize("size", [1e20, 1e160])
def test_sizes_where_rounding_is_all_are_refused(size, layout):
    X, y = clusters(9, 2, 3)
    data = Data(X, y, 3).laid_out(layout)
    with pytest.raises(ValueError, match="intercept_scaling.*scale"):
        crammer_singer(data.X, y, 1.0, fit_intercept=True, intercept_scaling=size)


@every_layout
@pytest.mark.parametrize("size", [1e-200, 1e-150, 1e-30])
def test_a_vanishing_constant_feature_is_none(size, layout):
    data = Data(*clusters(60, 5, 3), 3).laid_out(layout)
    r = data.solve(1.0)
    s = crammer_singer(
        data.X,
        data.y,
        1.0,
        fit_intercept=True,
        intercept_scaling=size,
        tol=data.tol,
        random_state=0,
    )
    assert_array_equal(s.coef, r.coef)
    assert_array_equal(s.dual, r.dual)
    assert abs(s.intercept).max() <= 60 * size**2
