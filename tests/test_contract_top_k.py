"""top_k and aggregate: what they say of the matrix of attributions that they never build."""

import numpy as np
import pytest
from cases import (
    EXPLAINERS,
    HEADS,
    RETRAINED,
    SAME_CLASS,
    WEIGHTED,
    assert_close,
    attributions,
    each,
    everything,
    excluded,
    fit,
    fitted,
    labels_of,
    laid_out,
    largest,
    peak,
    problem,
    targets,
)
from numpy.testing import assert_allclose, assert_array_equal


def stable_sort(T, is_largest):
    return np.argsort(-T if is_largest else T, axis=1, kind="stable")


@everything
@pytest.mark.parametrize("is_largest", [True, False], ids=["largest", "smallest"])
def test_top_k_is_a_stable_sort(name, K, layout, is_largest):
    X, y, X_test = problem(K, layout)
    e = fitted(name, K, layout)
    n = X.shape[0]
    for form, target in targets(e, X_test).items():
        if form == "predicted" and name not in HEADS:
            continue  # as labels, and dear
        T = attributions(e, X_test, target)
        most = n
        if name in SAME_CLASS:
            labels = labels_of(e, X_test, target)
            most = min((y == label).sum() for label in labels)
            # never among the smallest
            T[excluded(e, y, labels)] = -np.inf if is_largest else np.inf
        order = stable_sort(T, is_largest)
        for k in sorted({1, min(most, 13), most}):
            values, rows = e.top_k(X_test, k, target=target, largest=is_largest)
            assert values.shape == rows.shape == (X_test.shape[0], k)
            assert values.dtype == X_test.dtype and rows.dtype.kind == "i"
            assert_array_equal(rows, order[:, :k], form)
            assert_array_equal(values, np.take_along_axis(T, order[:, :k], axis=1))
            assert np.isfinite(values).all() and not np.signbit(values[values == 0]).any()


@pytest.mark.parametrize("name", [name for name in EXPLAINERS if name not in RETRAINED])
@pytest.mark.parametrize("is_largest", [True, False], ids=["largest", "smallest"])
def test_top_k_with_ties_and_zeros(name, is_largest):
    rng = np.random.default_rng(1)
    X = np.repeat(rng.integers(-1, 2, size=(12, 2)), 4, axis=0).astype(np.float64)
    y = rng.integers(0, 3, size=48)
    weight = rng.integers(0, 2, size=48) if name in WEIGHTED else None
    e = fit(EXPLAINERS[name], X, y, weight)
    X_test = np.vstack([np.zeros(2), X[::7]])
    T = attributions(e, X_test, 1)
    assert len(np.unique(T)) < T.size / 2
    T[np.isneginf(T)] = -np.inf if is_largest else np.inf
    order = stable_sort(T, is_largest)
    for k in range(1, 1 + np.isfinite(T).sum(axis=1).min(), 3):
        values, rows = e.top_k(X_test, k, target=1, largest=is_largest)
        assert_array_equal(rows, order[:, :k])
        assert_array_equal(values, np.take_along_axis(T, order[:, :k], axis=1))


@each
@pytest.mark.parametrize("k", [0, -1, 61, 2.0, True, None, "3"])
def test_k_out_of_range(name, k):
    match = r"k must be an integer in 1\.\.60"
    if name in SAME_CLASS and k == 61:
        match = "k=61, but class"
    with pytest.raises(ValueError, match=match):
        fitted(name, 3).top_k(problem(3)[2], k)


@pytest.mark.parametrize("name", SAME_CLASS)
def test_k_beyond_the_rows_of_a_class(name):
    _, y, X_test = problem(2)
    e = fitted(name, 2)
    many, few = (np.sum(y == label) for label in ("no", "yes"))
    assert few < many
    assert e.top_k(X_test, many, target="no")[0].shape == (7, many)
    with pytest.raises(ValueError, match=f"k={many}, but class .*'yes'.* has only {few} training"):
        e.top_k(X_test, many, target=["no"] * 6 + ["yes"])


# an SVM a test row is too dear here, and its blocks are made as Influence's
@pytest.mark.parametrize(
    "name, layout",
    [(name, "dense64") for name in EXPLAINERS if "SVM" not in name and name not in RETRAINED]
    + [(name, "csr64") for name in ("DualView", "Influence", "dot")],
)
def test_the_matrix_is_never_built(name, layout):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(5000, 8)), rng.integers(0, 3, size=5000)
    e = fit(EXPLAINERS[name], laid_out(X, layout), y)
    X_test = laid_out(rng.normal(size=(1500, 8)), layout)
    for target in (1, e.target_weights(X_test, "margin")) if name in HEADS else (1,):
        (values, rows), memory = peak(e.top_k, X_test, 5, target=target)
        # the matrix takes 60 MB; a block of 256 x 2048, its coefficients and products 4 MB each
        assert memory < 30e6
        _, memory = peak(e.aggregate, X_test, target)
        assert memory < 30e6
        some = slice(0, 1500, 100)
        part = target[some] if np.ndim(target) == 2 else target
        T = attributions(e, X_test[some], part)
        assert_close(np.take_along_axis(T, rows[some], axis=1), values[some])
        assert_close(-np.sort(-T, axis=1)[:, :5], values[some])


@everything
def test_aggregate_is_the_weighted_sum(name, K, layout):
    X, _, X_test = problem(K, layout)
    e = fitted(name, K, layout)
    m = X_test.shape[0]
    weights = np.random.default_rng(0).normal(size=m)
    for form, target in targets(e, X_test).items():
        T = attributions(e, X_test, target).astype(np.float64)
        T[np.isneginf(T)] = 0.0
        atol = 64 * np.finfo(X.dtype).eps * largest(T) * m
        for w in (None, weights.tolist(), np.zeros(m)) if form == "one" else (weights,):
            total = e.aggregate(X_test, target, weights=w)
            assert total.dtype == np.float64 and total.shape == (X.shape[0],)
            expected = T.sum(axis=0) if w is None else np.array(w) @ T
            assert_allclose(total, expected, rtol=0, atol=atol)


@each
@pytest.mark.parametrize("weights", [np.ones(3), np.ones((8, 1)), [np.nan] * 8, 2.0])
def test_weights_of_aggregate_that_do_not_fit(name, weights):
    with pytest.raises(ValueError, match="8 finite numbers"):
        fitted(name, 3).aggregate(problem(3)[2], weights=weights)
