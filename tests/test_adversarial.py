"""Rows moved against linear heads: the worst within reach where that is known."""

from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.datasets import load_iris
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from skattrib import DualViewExplainer, LinearHead
from skattrib.planting import adversarial_examples

X, Y = load_iris(return_X_y=True)
TWO = Y < 2
HEADS = {
    2: LogisticRegression(C=10, tol=1e-6, max_iter=3000).fit(X[TWO], Y[TWO]),
    3: LogisticRegression(C=10, tol=1e-6, max_iter=3000).fit(X, Y),
}
ROWS = {2: (X[TWO], Y[TWO]), 3: (X, Y)}


def losses(head, X, y):
    return -head.predict_log_proba(X)[np.arange(len(y)), y]


def losses_of_corners(head, X, y, epsilon):
    corners = [np.array(c) for c in product((-epsilon, epsilon), repeat=X.shape[1])]
    return np.max([losses(head, X + corner, y) for corner in corners], axis=0)


def test_two_classes_have_the_worst_corner_after_one_step():
    rows, y = ROWS[2]
    moved = adversarial_examples(HEADS[2], rows, y, 0.5)
    assert_allclose(losses(HEADS[2], moved, y), losses_of_corners(HEADS[2], rows, y, 0.5))
    # within a ball, straight against the weights
    w = HEADS[2].coef_[0]
    expected = rows - 0.5 * np.where(y == 1, 1, -1)[:, None] * w / np.linalg.norm(w)
    assert_allclose(adversarial_examples(HEADS[2], rows, y, 0.5, norm="l2"), expected)


@pytest.mark.parametrize("norm", ["inf", "l2"])
@pytest.mark.parametrize("n_steps", [1, 10])
def test_no_loss_falls_and_no_row_goes_too_far(norm, n_steps):
    before = X.copy()
    moved = adversarial_examples(HEADS[3], X, Y, 0.3, norm=norm, n_steps=n_steps)
    assert_array_equal(X, before)
    gained = losses(HEADS[3], moved, Y) - losses(HEADS[3], X, Y)
    assert gained.min() > 0
    order = np.inf if norm == "inf" else 2
    far = np.linalg.norm(moved - X, axis=1, ord=order)
    assert_allclose(far, 0.3)


def test_more_steps_come_nearer_to_the_worst():
    worst = losses_of_corners(HEADS[3], X, Y, 0.5).mean()
    one, more = (
        losses(HEADS[3], adversarial_examples(HEADS[3], X, Y, 0.5, n_steps=n), Y).mean()
        for n in (1, 20)
    )
    assert one < more < worst + 1e-12


def test_rows_stay_within_clip():
    low, high = X.min(axis=0), X.max(axis=0)
    moved = adversarial_examples(HEADS[3], X, Y, 1.0, n_steps=5, clip=(low, high))
    assert (moved >= low).all() and (moved <= high).all() and (moved == low).any()
    assert np.abs(moved - X).max() <= 1.0 + 1e-12
    assert_array_equal(
        moved,
        adversarial_examples(HEADS[3], X, Y, 1.0, n_steps=5, clip=(low.tolist(), high.tolist())),
    )


def test_certain_heads_are_attacked_too():
    sure = LinearHead(1e4 * HEADS[3].coef_, 1e4 * HEADS[3].intercept_)
    moved = adversarial_examples(sure, X, Y, 1.0)
    # probabilities are 0 and 1, the gradients of the loss zeros
    assert np.isin(sure.predict_proba(X), [0, 1]).mean() > 0.9
    assert sure.score(moved, Y) < sure.score(X, Y) - 0.3
    assert (np.abs(moved - X) == 1.0).mean() > 0.9


@pytest.mark.parametrize(
    "head",
    [
        LinearSVC().fit(X, Y),
        RidgeClassifier().fit(X[TWO], Y[TWO]),
        FrozenEstimator(HEADS[3]),
        DualViewExplainer(C=0.1, random_state=0).fit(X, Y),
        LogisticRegression(C=10, tol=1e-3, max_iter=300).fit(X, Y).sparsify(),
    ],
    ids=lambda head: type(head).__name__,
)
def test_any_linear_head_is_attacked(head):
    rows, y = ROWS[len(head.classes_)]
    assert head.score(adversarial_examples(head, rows, y, 2.0), y) < head.score(rows, y) - 0.2


def test_labels_of_any_kind_and_float32():
    names = np.array(["setosa", "versicolor", "virginica"])[Y]
    head = LogisticRegression(C=10, tol=1e-6, max_iter=3000).fit(X, names)
    moved = adversarial_examples(head, X.astype(np.float32), names, 0.3)
    assert moved.dtype == np.float32
    assert_allclose(moved, adversarial_examples(HEADS[3], X, Y, 0.3), rtol=1e-5, atol=1e-6)


WRONG = [
    ({"epsilon": 0}, ValueError, "epsilon must be a positive number, got 0"),
    ({"epsilon": np.nan}, ValueError, "epsilon must be"),
    ({"epsilon": "1"}, ValueError, "epsilon must be"),
    ({"norm": "l1"}, ValueError, "norm is 'l1'"),
    ({"norm": 2}, ValueError, "norm is 2"),
    ({"n_steps": 0}, ValueError, "n_steps must be a positive integer"),
    ({"step_size": -1.0}, ValueError, "step_size must be"),
    ({"clip": 3}, ValueError, "clip must be a pair"),
    ({"clip": (0, [1, 2])}, ValueError, "clip must be two numbers, or two arrays of 4"),
    ({"clip": (0, 1)}, ValueError, "X has values outside of clip"),
    ({"X": X[:, :3]}, ValueError, "X has 3 features, but the estimator has 4"),
    ({"X": sparse.csr_array(X)}, ValueError, r"give X.toarray\(\)"),
    ({"X": np.where(X > 5, np.nan, X)}, ValueError, "NaN"),
    ({"X": X[0]}, ValueError, "2D array"),
    ({"y": Y[:-1]}, ValueError, "one label for each of 150 rows"),
    ({"y": Y + 1}, ValueError, r"label of y 3 is not one of the classes"),
    ({"estimator": DecisionTreeClassifier().fit(X, Y)}, TypeError, "must be linear"),
    (
        {"estimator": SVC(kernel="linear").fit(X, Y)},
        TypeError,
        r"are not X @ coef_.T \+ intercept_",
    ),
    ({"estimator": make_pipeline(StandardScaler(), HEADS[3])}, TypeError, r"estimator\[-1\]"),
    ({"estimator": LogisticRegression}, TypeError, "fitted linear classifier"),
]


@pytest.mark.parametrize(("bad", "kind", "message"), WRONG)
def test_what_is_wrong_is_said(bad, kind, message):
    with pytest.raises(kind, match=message):
        adversarial_examples(**({"estimator": HEADS[3], "X": X, "y": Y, "epsilon": 0.1} | bad))
