"""The first engine: what it takes for settled, and W after a long way."""

import numpy as np
import pytest
import reference
from test_solvers import Data, check_result, clusters

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
