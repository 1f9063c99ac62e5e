"""The baseline of losses: what it is, and in compare_explainers."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from skattrib import DualViewExplainer, compare_explainers
from skattrib.comparison import LossBaseline
from skattrib.metrics import mislabel_detection_score
from skattrib.planting import flip_labels

X, Y = load_iris(return_X_y=True)
NAMES = np.array(["c", "a", "b"])[Y]


def test_losses_are_cross_entropies_and_attributions_their_negatives():
    baseline = LossBaseline(GaussianNB()).fit(X, NAMES)
    p = GaussianNB().fit(X, NAMES).predict_proba(X)
    some = range(0, 150, 10)
    each = [log_loss(NAMES[i : i + 1], p[i : i + 1], labels=["a", "b", "c"]) for i in some]
    assert_allclose(baseline.losses_[some], each, atol=1e-12)
    assert_array_equal(baseline.self_influence_, baseline.losses_)
    T = baseline.attribute(X[:3])
    assert T.shape == (3, 150)
    assert_array_equal(T, np.tile(-baseline.losses_, (3, 1)))
    assert_array_equal(baseline.predict(X), GaussianNB().fit(X, NAMES).predict(X))


def test_losses_of_certain_models_are_finite():
    tree = DecisionTreeClassifier(random_state=0).fit(X, Y)
    losses = LossBaseline(FrozenEstimator(tree)).fit(X, (Y + 1) % 3).losses_
    assert_allclose(losses, -np.log(np.finfo(float).tiny))


def test_folds_judge_rows_that_they_have_not_seen():
    noisy, wrong = flip_labels(Y, 0.1, random_state=0)
    tree = DecisionTreeClassifier(min_samples_leaf=2, random_state=0)
    seen, unseen = (LossBaseline(tree, cv=cv).fit(X, noisy).losses_ for cv in (None, 5))
    assert mislabel_detection_score(unseen, wrong) > mislabel_detection_score(seen, wrong) + 0.05


def test_frozen_estimators_are_taken_as_they_are():
    head = LogisticRegression(max_iter=1000).fit(X, NAMES)
    baseline = LossBaseline(FrozenEstimator(head))
    assert_allclose(baseline.fit(X, NAMES).losses_.mean(), log_loss(NAMES, head.predict_proba(X)))
    assert_array_equal(clone(baseline).fit(X[::2], NAMES[::2]).losses_, baseline.losses_[::2])


def test_frames_are_taken():
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = LogisticRegression(max_iter=1000)
    losses = LossBaseline(model, cv=3).fit(frame, pd.Series(NAMES)).losses_
    assert_allclose(losses, LossBaseline(model, cv=3).fit(X, NAMES).losses_)
    assert LossBaseline(model).fit(frame, NAMES).attribute(frame[:2]).shape == (2, 150)


def test_comparison_with_explainers():
    noisy, _ = flip_labels(Y, 0.1, random_state=1)
    explainers = {"dualview": DualViewExplainer(random_state=0), "loss": LossBaseline()}
    metrics = ["mislabel_detection", "self_influence", "completeness", "debugging"]
    found = compare_explainers(
        *(explainers, X[::2], Y[::2], X[1::2], Y[1::2]),
        estimator=GaussianNB(),
        metrics=metrics,
        random_state=0,
    ).table
    assert found["explainer"] == ["dualview", "loss"]
    assert found["mislabel_detection"][1] == found["self_influence"][1] > 0.9
    assert np.isnan(found["completeness"][1]) and found["debugging"][1] > 0.8


@pytest.mark.parametrize(
    ("baseline", "y", "kind", "message"),
    [
        (LossBaseline(LinearSVC()), Y, TypeError, "predict_proba, got LinearSVC: wrap it"),
        (LossBaseline("loss"), Y, TypeError, "estimator must be"),
        (LossBaseline(cv=1), Y, ValueError, "cv must be None or a number of folds"),
        (LossBaseline(cv=True), Y, ValueError, "cv must be None"),
        (LossBaseline(cv=60), Y, ValueError, "a class has 50 rows only, cv=60"),
        (LossBaseline(FrozenEstimator(GaussianNB().fit(X, Y)), cv=3), Y, ValueError, "in folds"),
        (LossBaseline(FrozenEstimator(GaussianNB().fit(X, Y))), Y + 5, ValueError, "label of y"),
        (LossBaseline(FrozenEstimator(GaussianNB().fit(X, Y))), Y[:9], ValueError, "one label"),
    ],
)
def test_what_is_wrong_is_said(baseline, y, kind, message):
    with pytest.raises(kind, match=message):
        baseline.fit(X, y)
