"""decompose: the shares of the features."""

import numpy as np
import pytest
import reference
from cases import (
    EXPLAINERS,
    LINEAR,
    NO_SHARES,
    attributions,
    each,
    fitted,
    laid_out,
    largest,
    layouts,
    n_classes,
    problem,
    shares,
    targets,
)
from numpy.testing import assert_allclose, assert_array_equal


@pytest.mark.parametrize("name", [*LINEAR, "dot"])
@n_classes
@layouts
def test_decompose_is_what_each_feature_adds(name, K, layout):
    # attributions are linear in the test row: each feature alone, less no feature at all
    X, _, X_test = problem(K, layout)
    e = fitted(name, K, layout)
    rows = np.random.default_rng(0).integers(0, X.shape[0], size=(X_test.shape[0], 6))
    rows[0] = rows[0, 0]
    for form, target in targets(e, X_test).items():
        if form == "predicted":
            target = e.predict(X_test)
        found = shares(e, X_test, rows, target)
        assert found.shape == (*rows.shape, X.shape[1]) and found.dtype == X_test.dtype
        whole, none = (
            np.take_along_axis(attributions(e, A, target), rows, axis=1)
            for A in (X_test, 0 * X_test)
        )
        scale = largest(whole) + largest(none)
        atol = 64 * np.finfo(X.dtype).eps * scale
        for k in range(X.shape[1]):
            alone = laid_out(reference.dense(X_test) * (np.arange(X.shape[1]) == k), layout)
            T = np.take_along_axis(attributions(e, alone, target), rows, axis=1)
            assert_allclose(found[:, :, k], T - none, rtol=0, atol=atol)
        assert_allclose(found.sum(axis=2) + none, whole, rtol=0, atol=atol)


@pytest.mark.parametrize("name", ["cosine", "same_class", "ExemplarSVM"])
@n_classes
@layouts
def test_decompose_sums_to_similarities(name, K, layout):
    X, y, X_test = problem(K, layout)
    e = fitted(name, K, layout)
    label = e.classes_[0]
    rows = e.top_k(X_test, 5, target=label)[1]
    T = np.take_along_axis(attributions(e, X_test, label), rows, axis=1)
    found = shares(e, X_test, rows, label)
    assert found.shape == (*rows.shape, X.shape[1]) and found.dtype == X_test.dtype
    rest = T - found.sum(axis=2)
    if name == "ExemplarSVM":
        # the intercept of the hyperplane, whatever the training row is
        assert np.abs(rest).min() > 0.1
        rest = rest - rest[:, :1]
    assert_allclose(rest, 0, atol=64 * np.finfo(X.dtype).eps * (1 + largest(T)))
    # a feature that the training row does not have carries nothing
    lacks = reference.dense(X)[rows] == 0
    assert lacks.any() and (found[lacks] == 0).all() and (found[~lacks] != 0).mean() > 0.8


@pytest.mark.parametrize("name", NO_SHARES)
def test_what_has_no_shares(name):
    message = "'dot' or 'cosine'" if name == "euclidean" else "need a linear head"
    with pytest.raises(ValueError, match=message):
        fitted(name, 3).decompose(problem(3)[2], np.zeros((8, 1), dtype=int))


@pytest.mark.parametrize(
    "name",
    [
        "same_class",
        "ExemplarSVM-same_class",
    ],
)
def test_excluded_rows_have_no_shares(name):
    _, y, X_test = problem(3)
    rows = np.full((8, 2), np.flatnonzero(y == 4)[0])
    fitted(name, 3).decompose(X_test, rows, target=4)
    with pytest.raises(ValueError, match="same_class"):
        fitted(name, 3).decompose(X_test, rows, target=7)


@each
@pytest.mark.parametrize(
    "indices",
    [
        np.zeros(8, dtype=int),
        np.zeros((7, 2), dtype=int),
        np.zeros((8, 2)),
        np.zeros((8, 2), dtype=bool),
        np.zeros((8, 2, 1), dtype=int),
        np.full((8, 2), -1),
        np.full((8, 2), 60),
        [["0"]] * 8,
    ],
    ids=["flat", "rows", "floats", "bools", "cube", "negative", "beyond", "strings"],
)
def test_indices_of_decompose_that_do_not_fit(name, indices):
    match = r"indices must be (integers of shape \(8, k\)|training rows, 0\.\.59)"
    with pytest.raises(ValueError, match=match):
        fitted(name, 3).decompose(problem(3)[2], indices)


@pytest.mark.parametrize("name", [name for name in EXPLAINERS if name not in NO_SHARES])
def test_decompose_takes_any_integers(name):
    e, X_test = fitted(name, 3), problem(3)[2]
    rows = e.top_k(X_test, 2)[1]
    expected = e.decompose(X_test, rows)
    for form in (rows.astype(np.uint8), rows.tolist(), np.asfortranarray(rows)):
        assert_array_equal(e.decompose(X_test, form), expected)
    assert e.decompose(X_test, rows[:, :0]).shape == (8, 0, 5)
