"""directions: what a row's features are multiplied by to give its attributions."""

import numpy as np
import pytest
import reference
from cases import (
    EXPLAINERS,
    LINEAR,
    NO_SHARES,
    attributions,
    directions,
    fitted,
    laid_out,
    largest,
    problem,
    shares,
    targets,
    two_layouts,
)
from numpy.testing import assert_allclose, assert_array_equal

from skattrib import AveragedExplainer, DualViewExplainer, InfluenceExplainer, SimilarityExplainer

# whose attributions are linear in one row only
TEST_ONLY, TRAIN_ONLY = ["Averaged-mixed"], ["ExemplarSVM", "ExemplarSVM-same_class"]
TEST_ONLY += [name for name in EXPLAINERS if name.startswith("Influence")]
# whose features decompose means, if those of the training row
OF_TRAINING = [*TRAIN_ONLY, "TRAK"]
DUAL = [name for name in EXPLAINERS if hasattr(EXPLAINERS[name], "intercept_share")]


def sides(name):
    return [s for s, others in (("test", TRAIN_ONLY), ("train", TEST_ONLY)) if name not in others]


SIDES = [(name, side) for name in EXPLAINERS if name not in NO_SHARES for side in sides(name)]


@pytest.mark.parametrize("name, side", SIDES)
@two_layouts
def test_times_features_they_are_the_attributions(name, side, layout):
    X, _, X_test = problem(3, layout)
    e = fitted(name, 3, layout)
    label = e.classes_[0]
    rows = e.top_k(X_test, 5, target=label)[1]
    whole, none = (
        np.take_along_axis(attributions(e, A, label), rows, axis=1) for A in (X_test, 0 * X_test)
    )
    if "ExemplarSVM" in name:
        # the intercept of the hyperplane
        none = whole - shares(e, X_test, rows, label).sum(axis=2)
    own = reference.dense(X)[rows] if side == "train" else reference.dense(X_test)[:, None]
    found = directions(e, X_test, rows, side, label)
    terms = found * own
    atol = 64 * np.finfo(X.dtype).eps * (1 + largest(whole) + largest(none))
    assert np.abs(found).max() > 0.01
    assert_allclose(terms.sum(axis=2) + none, whole, rtol=0, atol=atol)
    if (side == "train") == (name in OF_TRAINING):
        assert_allclose(shares(e, X_test, rows, label), terms, rtol=0, atol=atol)


@pytest.mark.parametrize("name", [*LINEAR, "dot", "TRAK"])
@two_layouts
def test_on_the_test_side_they_are_the_gradient(name, layout):
    X, _, X_test = problem(3, layout)
    e = fitted(name, 3, layout)
    rows = np.random.default_rng(0).integers(0, X.shape[0], size=(X_test.shape[0], 6))
    rows[0] = rows[0, 0]
    for form, target in targets(e, X_test).items():
        if form == "predicted":
            target = e.predict(X_test)
        found = directions(e, X_test, rows, "test", target)
        none = np.take_along_axis(attributions(e, 0 * X_test, target), rows, axis=1)
        for k in range(X.shape[1]):
            # attributions are linear in the test row
            unit = np.tile(np.arange(X.shape[1]) == k, (X_test.shape[0], 1))
            T = attributions(e, laid_out(unit, layout), target)
            step = np.take_along_axis(T, rows, axis=1) - none
            atol = 64 * np.finfo(X.dtype).eps * (largest(T) + largest(none))
            assert_allclose(found[:, :, k], step, rtol=0, atol=atol)


@pytest.mark.parametrize("name", DUAL)
@pytest.mark.parametrize("side", ["test", "train"])
@pytest.mark.parametrize("K", [2, 3, 70])
def test_directions_of_duals(name, side, K):
    if K == 70 and name != "DualView":
        return
    X, _, X_test = problem(K, "csr64")
    e = fitted(name, K, "csr64")
    alpha = np.zeros((X.shape[0], K))
    dual = reference.dense(e.dual_coef_)
    alpha[e.support_] = (np.vstack([-dual, dual]) / 2 if K == 2 else dual).T
    V = np.random.default_rng(0).normal(size=(X_test.shape[0], K))
    rows = np.tile(np.arange(X.shape[0]), (len(V), 1))
    expected = reference.directions(alpha, X, X_test, V, side)
    assert (expected != 0).mean() > 0.05
    found = directions(e, X_test, rows, side, V)
    assert_allclose(found, expected, rtol=0, atol=1e-13 * np.abs(expected).max())


@pytest.mark.parametrize("layout", ["dense32", "csr64"])
def test_of_a_cosine_the_norms_are_fixed(layout):
    X, y, X_test = problem(3, layout)
    e = SimilarityExplainer(metric="cosine").fit(X, y)
    rows = np.tile(np.arange(4), (8, 1))
    A, B = (reference.dense(part).astype(np.float64) for part in (X_test, X))
    norms = np.linalg.norm(A, axis=1)[:, None] * np.linalg.norm(B[:4], axis=1)
    for side, other in (("test", B[None, :4]), ("train", A[:, None])):
        assert_allclose(
            directions(e, X_test, rows, side), other / norms[:, :, None], rtol=1e-6, atol=1e-12
        )


def test_rows_without_length_have_no_direction():
    X, y, X_test = problem(3, "dense32")
    e = SimilarityExplainer(metric="cosine").fit(X, y)
    short = X_test * np.float32(1e-40)
    rows = np.zeros((8, 1), dtype=int)
    with pytest.raises(ValueError, match="rows as short as .* scale the features"):
        e.directions(short, rows)
    assert np.isfinite(e.decompose(short, rows)).all()
    assert (e.directions(0 * X_test, rows) == 0).all()


@pytest.mark.parametrize("name", [*TEST_ONLY, *TRAIN_ONLY])
def test_sides_that_attributions_are_not_linear_in(name):
    side = "test" if name in TRAIN_ONLY else "train"
    other = "train" if name in TRAIN_ONLY else "test"
    with pytest.raises(ValueError, match=f"are for side='{other}'.*row"):
        fitted(name, 3).directions(problem(3)[2], np.zeros((8, 1), dtype=int), side=side)


@pytest.mark.parametrize("name", NO_SHARES)
@pytest.mark.parametrize("side", ["test", "train"])
def test_what_has_no_directions(name, side):
    with pytest.raises(ValueError, match="decompose and directions (need a linear|are for metric)"):
        fitted(name, 3).directions(problem(3)[2], np.zeros((8, 1), dtype=int), side=side)


@pytest.mark.parametrize("side", ["testing", "", None, 0, ["test"], np.array(["test", "train"])])
def test_sides_that_are_none(side):
    with pytest.raises(ValueError, match="side must be 'test' or 'train', got"):
        fitted("DualView", 3).directions(problem(3)[2], np.zeros((8, 1), dtype=int), side=side)


def test_chunks_of_pairs_make_one_array():
    # more pairs than are worked on at a time, over several explainers in columns of their own
    rng = np.random.default_rng(0)
    X, X_test = rng.normal(size=(40, 900)), rng.normal(size=(5, 900))
    y = np.arange(40) % 2
    parts = [("a", DualViewExplainer(random_state=0), slice(0, 600))]
    e = AveragedExplainer([*parts, ("b", InfluenceExplainer(), slice(300, 900))]).fit(X, y)
    rows = np.tile(np.arange(40), (5, 1))
    found = e.directions(X_test, rows, target=1)
    a, b = (
        member.directions(np.ascontiguousarray(X_test[:, at]), rows, target=1)
        for member, at in zip(e.explainers_, e.columns_, strict=True)
    )
    expected = np.zeros((5, 40, 900))
    expected[:, :, :600] += a / 2
    expected[:, :, 300:] += b / 2
    assert_array_equal(found, expected)
    assert_allclose(e.decompose(X_test, rows, target=1), expected * X_test[:, None], atol=1e-15)
