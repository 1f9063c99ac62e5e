"""The first engine: what it takes for settled, and W after a long way."""

import numpy as np
import pytest
import reference
from sklearn.exceptions import ConvergenceWarning
from test_solvers import Data, check_result, clusters
from text_like import text_like

from skattrib._svm import ascent
from skattrib._svm import crammer_singer as solver
from skattrib._svm.crammer_singer import crammer_singer


@pytest.mark.parametrize("K", [3, 20])
@pytest.mark.parametrize("layout", ["dense32", "csr32"])
def test_rows_that_float32_takes_for_settled_count_in_the_gap(K, layout):
    """Far rows, on the margin but for the rounding to float32, which scores in float32 miss."""
    rng = np.random.default_rng(0)
    X, y = clusters(200, 6, K, seed=K)
    start = crammer_singer(X, y, 0.1, n_classes=K).dual
    W = X.T @ start  # (d, K)
    # far away, and moved until the label is ahead of the others by the margin
    far = 1e4 * rng.normal(size=(1000, 6))
    labels = rng.integers(K, size=1000)
    for i, k in enumerate(labels):
        for _ in range(200):
            score = far[i] @ W + 1.0
            score[k] -= 1.0
            rival = np.argmax(np.where(np.arange(K) == k, -np.inf, score))
            if abs(score[rival] - score[k]) < 1e-9:
                break
            across = W[:, rival] - W[:, k]
            far[i] -= (score[rival] - score[k]) * across / (across @ across)
    X, y = np.concatenate([X, far]), np.concatenate([y, labels])
    start = np.concatenate([start, np.zeros((1000, K))])
    data = Data(X, y, K).laid_out(layout)
    # nothing moves: the gap is small enough from the start
    r = data.solve_short(0.1, dual_init=start, tol=0.999)
    assert r.converged and r.n_iter == 0
    score = reference.dense(data.X).astype(float) @ r.coef.T + 1.0 - np.eye(K)[y]
    short = score.max(axis=1) - score[np.arange(len(y)), y]
    assert (short[200:] > 0).any() and short[200:].max() < 2e-3
    check_result(data, 0.1, r, tol=0.999)


@pytest.mark.parametrize("layout", ["dense64", "dense32", "csr64"])
@pytest.mark.parametrize("weight", [1e6, 1e9])
def test_weights_that_were_huge_on_the_way_leave_no_rounding(weight, layout):
    """A start a million times too far: what was added to W and taken away again is rounding."""
    K = 3
    X, y = clusters(300, 6, K, seed=0, spread=0.5)
    heavy = np.concatenate([np.flatnonzero(y == k)[:2] for k in range(K)])
    s = np.ones(300)
    s[heavy] = weight
    start = np.zeros((300, K))
    start[heavy] = -weight / (K - 1)
    start[heavy, y[heavy]] = weight
    data = Data(X, y, K, s, True).laid_out(layout)
    r = data.solve(1.0, dual_init=start, tol=1e-6)
    assert np.abs(X.T @ start).max() > 1e5 * np.abs(r.coef).max()
    check_result(data, 1.0, r, tol=1e-6)


# where a row that was visited, and moved, was taken for settled
VISITED = [(0.0, 476), (0.0, 787), (1e-3, 627), (1e-3, 700), (1.0, 476)]


@pytest.mark.parametrize("size, seed", [*VISITED, *((10.0**k, k + 4) for k in range(-4, 9))])
def test_rows_that_are_not_scored_add_nothing(monkeypatch, size, seed):
    """At every measure the gap is that of all rows, whatever the start and however W moved."""
    measure, found = ascent._measure, []

    def checked(search, *arguments):
        measure(search, *arguments)
        slack = np.empty(len(search.rows), dtype=np.float32)
        found.append((search.gap, search.exact.score(search.rows, slack), search.objective))

    monkeypatch.setattr(ascent, "_measure", checked)
    rng = np.random.default_rng(seed)
    n, d, K = int(rng.integers(2, 40)), int(rng.integers(1, 6)), int(rng.integers(2, 5))
    X, y = rng.normal(size=(n, d)), rng.integers(K, size=n)
    C = 10.0 ** rng.uniform(-2, 1)
    start = rng.normal(size=(n, K)) * C * size if size else None
    options = {"n_classes": K, "fit_intercept": True, "random_state": seed, "dual_init": start}
    crammer_singer(X, y, C, tol=1e-9, **options)
    gap, whole, objective = np.array(found).T
    assert len(gap) > 1
    assert (whole <= gap + 1e-12 * objective).all()


def test_easy_sparse_rows_are_swept_to_the_end(monkeypatch):
    """Many sweeps over text cost less than one Newton step on all of its words."""

    class Newton(Exception):
        pass

    def proximal_point(*_):
        raise Newton

    monkeypatch.setattr(solver, "proximal_point", proximal_point)
    X, y = text_like(1500, solver.SPARSE_WIDTH, 8)
    options = {"fit_intercept": True, "tol": 1e-6, "random_state": 0}
    r = crammer_singer(X, y, 10.0, **options)
    assert r.converged and r.n_iter > solver.PATIENCE
    with pytest.raises(Newton):
        crammer_singer(X[:, 1:], y, 10.0, **options)


def test_hard_rows_are_swept_while_that_is_fast(monkeypatch):
    """Newton steps begin nearer to the optimum than the solution at an easier C is."""
    gaps = []

    def watch(search, W, tol, max_iter, verbose):
        gaps.append(search.certify() / search.objective)
        return 1

    monkeypatch.setattr(solver, "proximal_point", watch)
    X, y = clusters(400, 10, 4, seed=0)
    C = 100.0 / np.mean(np.sum(X**2, axis=1))
    with pytest.warns(ConvergenceWarning):
        crammer_singer(X, y, C, tol=1e-9, max_iter=100, random_state=0)
        monkeypatch.setattr(solver, "_sweep_while_fast", lambda *arguments: 0)
        crammer_singer(X, y, C, tol=1e-9, max_iter=100, random_state=0)
    assert gaps[0] < 0.3 * gaps[1]
