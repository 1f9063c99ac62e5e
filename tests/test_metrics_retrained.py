"""Scores that retrain: supports and curves, against naive loops and on constructed data."""

import re

import joblib
import numpy as np
import pytest
import reference_metrics as reference
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from skattrib.metrics import (
    coreset_curve,
    data_removal_support,
    debugging_curve,
    mislabel_detection_score,
    mislabel_support,
    pruning_curve,
)
from skattrib.planting import flip_labels

X_ALL, Y_ALL = load_wine(return_X_y=True)
X_ALL = StandardScaler().fit_transform(X_ALL)
ORDER = np.random.default_rng(0).permutation(len(X_ALL))
X, Y = X_ALL[ORDER[:40]], Y_ALL[ORDER[:40]]
X_TEST, Y_TEST = X_ALL[ORDER[40:48]], Y_ALL[ORDER[40:48]]
BAYES = GaussianNB()
KNN = KNeighborsClassifier(n_neighbors=1)
# near rows first
NEAR = -((X_TEST[:, None] - X) ** 2).sum(axis=2)
T = np.random.default_rng(1).standard_normal((8, 40)) + 2 * (Y_TEST[:, None] == Y)
SCORES = np.random.default_rng(2).standard_normal(40)
COUNTS = [1, 5, 9, 13, 17, 30]


def fit_bayes(X, y):
    return clone(BAYES).fit(X, y)


# Supports


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_data_removal_support_is_its_definition(container):
    result = data_removal_support(container(T), BAYES, X, Y, X_TEST, counts=COUNTS)
    orders = [list(np.argsort(-row)) for row in T]
    expected = [
        reference.support(fit_bayes, X.tolist(), Y.tolist(), x, order, COUNTS)
        for x, order in zip(X_TEST, orders, strict=True)
    ]
    assert_array_equal(result.support, expected)
    assert len(set(expected)) > 2
    assert_allclose(result.flipped, [np.mean(result.support <= count) for count in COUNTS])
    assert_array_equal(result.counts, COUNTS)


def test_mislabel_support_is_its_definition():
    result = mislabel_support(T, BAYES, X, Y, X_TEST, counts=COUNTS)
    shares = fit_bayes(X, Y).predict_proba(X_TEST)
    runner_up = np.argsort(-shares, axis=1)[:, 1]
    assert_array_equal(result.runner_up, runner_up)
    expected = [
        reference.support(fit_bayes, X.tolist(), Y.tolist(), x, list(np.argsort(-row)), COUNTS, c)
        for x, row, c in zip(X_TEST, T, runner_up, strict=True)
    ]
    assert_array_equal(result.support, expected)
    assert len(set(expected)) > 2


def test_supports_of_two_classes():
    y, names = np.where(Y == 0, "no", "yes"), np.array(["no", "yes"])
    result = mislabel_support(T, LogisticRegression(), X, y, X_TEST, counts=[20, 39])
    predicted = LogisticRegression().fit(X, y).predict(X_TEST)
    assert_array_equal(result.runner_up, names[1 - np.searchsorted(names, predicted)])


def test_near_rows_support_nearest_neighbours():
    """All same-class rows that are nearer than the first of another class, and no other."""
    near, x_test, how = NEAR[:4], X_TEST[:4], {"counts": range(1, 40)}
    result = data_removal_support(near, KNN, X, Y, x_test, **how)
    ordered = Y[np.argsort(-near, axis=1)]
    expected = [np.argmax(row != row[0]) for row in ordered]
    assert_array_equal(result.support, expected)
    far = data_removal_support(-near, KNN, X, Y, x_test, **how)
    random = data_removal_support(T[:4], KNN, X, Y, x_test, **how)
    assert np.all(result.support <= random.support) and np.all(random.support <= far.support)
    # one relabelled neighbour is enough where the nearest row decides
    knn = KNeighborsClassifier(n_neighbors=3, weights="distance")
    assert np.all(mislabel_support(near, knn, X, Y, x_test, counts=[1, 3]).support <= 3)


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_supports_do_not_depend_on_scale_or_order(scale):
    support = data_removal_support(NEAR, KNN, X, Y, X_TEST).support
    order = np.random.default_rng(0).permutation(40)
    permuted = data_removal_support(NEAR[:, order] * scale, KNN, X[order], Y[order], X_TEST)
    assert_array_equal(permuted.support, support)
    assert_array_equal(permuted.counts, [1, 2, 4, 8, 16])


@pytest.mark.parametrize("score", [data_removal_support, mislabel_support])
def test_a_count_beyond_the_ranked_rows_is_not_tried(score):
    """Two rows are ranked: taking "three" of them would be taking two, or an excluded one."""
    X, y, excluded = [[0.0], [0.1], [9.0], [9.1]], [0, 0, 1, 1], -np.inf
    knn = KNeighborsClassifier(n_neighbors=1)
    T = [[1.0, 2.0, excluded, excluded]]
    result = score(T, knn, X, y, [[0.04]], counts=[1, 3])
    assert_array_equal(result.support, [np.inf])
    assert_array_equal(result.flipped, [0, 0])
    assert_array_equal(score(T, knn, X, y, [[0.04]], counts=[2, 3]).support, [2])


@pytest.mark.parametrize("verbose", [np.ones(2), "yes", None, [1]])
def test_verbose_is_a_number(verbose):
    with pytest.raises(TypeError, match="verbose must be"):
        data_removal_support(T, KNN, X, Y, X_TEST, counts=[1], verbose=verbose)
    with pytest.raises(TypeError, match="verbose must be"):
        coreset_curve(SCORES, KNN, X, Y, X_TEST, Y_TEST, shares=[0.5], verbose=verbose)


@pytest.mark.parametrize("estimator", [None, 3, "knn", [KNN], np.ones(2)])
def test_what_is_no_estimator_is_refused(estimator):
    with pytest.raises(TypeError, match="estimator must be an instance of a classifier"):
        data_removal_support(T, estimator, X, Y, X_TEST)


def test_ties_are_broken_at_random():
    X, y = np.array([[0.0], [0.1], [0.2], [9.0], [9.1]]), [0, 0, 0, 1, 1]
    zeros = sparse.csr_array((1, 5))
    found = [
        data_removal_support(
            zeros, KNN, X, y, [[0.0]], counts=range(1, 5), random_state=seed
        ).support[0]
        for seed in range(30)
    ]
    assert set(found) == {3, 4, np.inf}
    # the last of the three rows of the class comes third in 1 of 10 orders, fourth in 3 of 10
    assert np.mean(np.isfinite(found)) == pytest.approx(0.4, abs=0.2)


def test_excluded_rows_are_never_removed():
    predicted = clone(KNN).fit(X, Y).predict(X_TEST)
    same_class = np.where(predicted[:, None] == Y, -np.inf, NEAR)
    result = data_removal_support(same_class, KNN, X, Y, X_TEST, counts=[1, 20, 38, 39])
    assert np.all(result.support == np.inf)
    # the nearest row decides, and stays; a row of another class, too, that would decide after it
    kept = NEAR.copy()
    kept[np.arange(8), NEAR.argmax(axis=1)] = -np.inf
    kept[np.arange(8), [np.flatnonzero(label != Y)[0] for label in predicted]] = -np.inf
    result = data_removal_support(kept, KNN, X, Y, X_TEST, counts=[1, 20, 38, 39])
    assert np.all(result.support == np.inf)


def test_intervals_of_supports():
    plain = data_removal_support(T, BAYES, X, Y, X_TEST, counts=COUNTS)
    result = data_removal_support(
        T, BAYES, X, Y, X_TEST, counts=COUNTS, confidence=0.9, random_state=0, n_resamples=200
    )
    assert_array_equal(result.flipped, plain.flipped)
    low, high = result.low.flipped, result.high.flipped
    assert low.shape == (6,) and np.all((low <= plain.flipped) & (plain.flipped <= high))
    assert np.all(low < high, where=(plain.flipped > 0) & (plain.flipped < 1))


@pytest.mark.parametrize("score", ["support", "curve"])
def test_results_do_not_depend_on_n_jobs(score):
    tree, how = DecisionTreeClassifier(splitter="random"), {"random_state": 0}
    with joblib.parallel_config("threading"):
        if score == "support":
            one, two = (
                data_removal_support(T, tree, X, Y, X_TEST, counts=COUNTS, n_jobs=k, **how).support
                for k in (1, 2)
            )
        else:
            arguments = np.zeros(40), tree, X, Y, X_TEST, Y_TEST
            one, two = (
                coreset_curve(*arguments, n_repeats=3, n_jobs=k, **how).accuracy for k in (1, 2)
            )
    assert_array_equal(one, two)


# Curves

SHARES = [0.1, 0.3, 0.65]


def accuracy_on(rows, labels=Y):
    return np.mean(fit_bayes(X[rows], labels[rows]).predict(X_TEST) == Y_TEST)


def test_coreset_and_pruning_curves_are_their_definitions():
    order = np.argsort(-SCORES)
    kept = coreset_curve(SCORES, BAYES, X, Y, X_TEST, Y_TEST, shares=SHARES)
    dropped = pruning_curve(SCORES, BAYES, X, Y, X_TEST, Y_TEST, shares=SHARES)
    assert_array_equal(kept.n_rows, [4, 12, 26])
    assert_array_equal(kept.shares, SHARES)
    assert_allclose(kept.accuracy, [accuracy_on(order[:k]) for k in (4, 12, 26)])
    assert_allclose(dropped.accuracy, [accuracy_on(order[k:]) for k in (4, 12, 26)])
    # few rows of one class predict that class
    one = coreset_curve(SCORES, BAYES, X, Y, X_TEST, Y_TEST, shares=[0.001])
    assert one.n_rows == [1] and one.accuracy == np.mean(Y[order[0]] == Y_TEST)


def test_the_ends_of_the_curves():
    arguments = SCORES, BAYES, X, Y, X_TEST, Y_TEST
    everything = accuracy_on(np.arange(40))
    assert coreset_curve(*arguments, shares=[1]).accuracy == everything
    assert pruning_curve(*arguments, shares=[0]).accuracy == everything
    noisy, flipped = flip_labels(Y, 0.4, kind="pair", random_state=0)
    ends = debugging_curve(SCORES, BAYES, X, noisy, Y, X_TEST, Y_TEST, shares=[0, 1])
    assert_array_equal(ends.accuracy, [accuracy_on(np.arange(40), noisy), everything])
    assert_array_equal(ends.found, [0, 1])


def test_debugging_curve_is_its_definition():
    noisy, flipped = flip_labels(Y, 0.4, kind="pair", random_state=0)
    curve = debugging_curve(SCORES, BAYES, X, noisy, Y, X_TEST, Y_TEST, shares=SHARES)
    for k, accuracy, found in zip((4, 12, 26), curve.accuracy, curve.found, strict=True):
        top = np.argsort(-SCORES)[:k]
        mended = noisy.copy()
        mended[top] = Y[top]
        assert accuracy == accuracy_on(np.arange(40), mended)
        assert found == pytest.approx(flipped[top].sum() / flipped.sum())


def test_perfect_and_adversarial_orders_of_debugging():
    noisy, flipped = flip_labels(Y, 0.25, random_state=0)
    arguments = BAYES, X, noisy, Y, X_TEST, Y_TEST
    best = debugging_curve(flipped * 1.0, *arguments, shares=[0.25])
    worst = debugging_curve(-1.0 * flipped, *arguments, shares=[0.25, 0.75])
    assert best.found == [1] and best.accuracy == accuracy_on(np.arange(40))
    assert_array_equal(worst.found, [0, 0])
    assert_array_equal(worst.accuracy, [accuracy_on(np.arange(40), noisy)] * 2)


def test_ties_of_debugging_count_as_expected():
    noisy, flipped = flip_labels(Y, 0.25, random_state=0)
    curve = debugging_curve(np.zeros(40), BAYES, X, noisy, Y, X_TEST, Y_TEST)
    assert_allclose(curve.found, curve.shares)
    # the area under the curve is that of the detection score
    every = np.arange(41) / 40
    T = np.random.default_rng(0).integers(0, 3, size=(2, 40))
    found = debugging_curve(T, KNN, X, noisy, Y, X_TEST, Y_TEST, shares=every).found
    share = flipped.mean()
    area = (np.trapezoid(found, every) - share / 2) / (1 - share)
    assert area == pytest.approx(mislabel_detection_score(T, flipped))


def test_labels_may_be_longer_than_the_wrong_ones():
    clean = np.array(["a", "bb", "ccc"])[Y]
    noisy = np.full(40, "a")
    noisy[Y != 0] = "b"
    curve = debugging_curve(
        SCORES, KNN, X, noisy, clean, X_TEST, np.array(["a", "bb", "ccc"])[Y_TEST], shares=[1]
    )
    assert curve.accuracy > 0.8


def test_curves_of_attributions_rank_by_mean_magnitude():
    T = sparse.random_array((6, 40), density=0.3, rng=0, format="csr") * -1e-9
    by_attributions = coreset_curve(T, BAYES, X, Y, X_TEST, Y_TEST, random_state=0, shares=[0.5])
    scores = np.abs(T.toarray()).mean(axis=0) * 1e12
    by_scores = coreset_curve(scores, BAYES, X, Y, X_TEST, Y_TEST, random_state=0, shares=[0.5])
    assert by_attributions.accuracy == by_scores.accuracy == (accuracy_on(np.argsort(-scores)[:20]))


def test_repeats_average_seeds_and_ties():
    arguments = np.zeros(40), KNN, X, Y, X_TEST, Y_TEST
    once = [
        coreset_curve(*arguments, random_state=seed, shares=[0.1]).accuracy[0] for seed in range(9)
    ]
    assert len(set(once)) > 2
    mean = coreset_curve(*arguments, random_state=0, shares=[0.1], n_repeats=50).accuracy[0]
    assert mean == pytest.approx(np.mean(once), abs=0.2)
    assert mean not in (once[0], once[1])


def test_intervals_of_curves():
    noisy, _ = flip_labels(Y, 0.4, kind="pair", random_state=0)
    how = {"confidence": 0.9, "n_resamples": 200, "random_state": 0}
    for result in (
        coreset_curve(SCORES, BAYES, X, Y, X_TEST, Y_TEST, **how),
        pruning_curve(SCORES, BAYES, X, Y, X_TEST, Y_TEST, **how),
        debugging_curve(SCORES, BAYES, X, noisy, Y, X_TEST, Y_TEST, **how),
    ):
        low, high = result.low.accuracy, result.high.accuracy
        assert low.shape == (10,) and np.all(low <= high)
        assert np.all((low <= result.accuracy) & (result.accuracy <= high))
        assert np.any(low < high)


# Errors


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: data_removal_support(T[:, 1:], BAYES, X, Y, X_TEST),
            "attributions has shape (8, 39); expected (8, 40)",
        ),
        (lambda: data_removal_support(T, Ridge(), X, Y, X_TEST), "Ridge is no classifier"),
        (lambda: data_removal_support(T, BAYES, X, Y[1:], X_TEST), "y has shape (39,)"),
        *[
            (
                lambda counts=counts: data_removal_support(T, BAYES, X, Y, X_TEST, counts=counts),
                "counts must be integers that increase within 1..39",
            )
            for counts in ([0, 1], [2, 1], [40], [], [0.5], 3)
        ],
        (
            lambda: mislabel_support(T, clone(NoOrder()), X, Y, X_TEST),
            "neither decision_function nor predict_proba",
        ),
        (
            lambda: mislabel_support(
                T, SVC(decision_function_shape="ovo"), X, np.arange(40) % 4, X_TEST
            ),
            "decision_function has 6 columns for 4 classes",
        ),
        (
            lambda: coreset_curve(SCORES[1:], BAYES, X, Y, X_TEST, Y_TEST),
            "y has 40 entries but scores_or_attributions has 39 entries",
        ),
        (
            lambda: coreset_curve(SCORES, BAYES, X, Y, X_TEST, Y_TEST[1:]),
            "y_test has shape (7,); expected (8,)",
        ),
        (
            lambda: coreset_curve(SCORES, BAYES, X, Y, X_TEST, Y_TEST.astype(str)),
            "y and y_test must hold labels of one kind",
        ),
        (
            lambda: data_removal_support(T, BAYES, X, Y, X_TEST, counts=[1, None]),
            "counts must be integers that increase",
        ),
        (
            lambda: data_removal_support(T, BAYES, np.ma.masked_array(X, X > 1), Y, X_TEST),
            "X is a masked array",
        ),
        (lambda: coreset_curve(SCORES, Ridge(), X, Y, X_TEST, Y_TEST), "Ridge is no classifier"),
        *[
            (
                lambda shares=shares: coreset_curve(
                    SCORES, BAYES, X, Y, X_TEST, Y_TEST, shares=shares
                ),
                "shares must increase within 0..1",
            )
            for shares in ([0.5, 0.2], [], [-0.1], [1.1], [np.nan], 0.5)
        ],
        (
            lambda: coreset_curve(SCORES, BAYES, X, Y, X_TEST, Y_TEST, n_repeats=0),
            "n_repeats must be a positive integer",
        ),
        (
            lambda: pruning_curve(SCORES, BAYES, X, Y, X_TEST, Y_TEST, shares=[1]),
            "leave at least one row to fit on",
        ),
        (
            lambda: debugging_curve(SCORES, BAYES, X, Y, Y, X_TEST, Y_TEST),
            "y and y_clean are equal",
        ),
        (
            lambda: debugging_curve(SCORES, BAYES, X, Y, Y[1:], X_TEST, Y_TEST),
            "y_clean has 39 entries but X has 40 rows",
        ),
    ],
)
def test_errors_name_the_problem_and_the_remedy(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


class NoOrder(KNeighborsClassifier):
    """Predicts labels and nothing else."""

    predict_proba = property()


def test_an_order_by_either_method():
    for estimator in (LogisticRegression(), KNN):
        result = mislabel_support(T, estimator, X, Y, X_TEST, counts=[3])
        assert np.all(result.runner_up != clone(estimator).fit(X, Y).predict(X_TEST))
    # estimators without either still have a removal support
    centroid = NearestCentroid()
    assert data_removal_support(T, centroid, X, Y, X_TEST, counts=[13]).support.shape == (8,)
