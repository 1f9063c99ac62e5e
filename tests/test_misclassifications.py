"""misclassifications: kinds of error, the rows that push towards them, and the control."""

import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge

from skattrib import (
    AveragedExplainer,
    DualViewExplainer,
    InfluenceExplainer,
    RepresenterExplainer,
    RepresenterRegressor,
    SimilarityExplainer,
    TRAKExplainer,
    misclassifications,
)
from skattrib.findings import misclassifications as module_function

X, Y = load_digits(return_X_y=True)
# centred, so that a row raises some outputs and lowers others
X = X / 16 - X.mean(axis=0) / 16
TRAIN, TEST = slice(0, 300), slice(300, 900)
EXPLAINERS = {
    "representer": RepresenterExplainer(),
    "influence": InfluenceExplainer(leverage_correction=False),
    "dualview": DualViewExplainer(C=0.1, random_state=0),
    "averaged": AveragedExplainer([("a", RepresenterExplainer(), slice(0, 64))]),
}


@pytest.fixture(scope="module")
def fits():
    return {name: e.fit(X[TRAIN], Y[TRAIN]) for name, e in EXPLAINERS.items()}


def by_loops(e, X, y, taken, k, min_errors):
    """{(true, predicted): {field: value}} from the full matrix of attributions, by the words."""
    found = {}
    for a in e.classes_:
        for b in e.classes_:
            errors = [j for j in range(len(y)) if a != b and y[j] == a and taken[j] == b]
            right = [j for j in range(len(y)) if y[j] == a and taken[j] == a]
            if len(errors) < max(min_errors, 1):
                continue
            v = (e.classes_ == a).astype(float) - (e.classes_ == b)
            T = np.asarray(e.attribute(X, np.tile(v, (len(y), 1)), out=np.empty((len(y), 300))))
            mean = T[errors].mean(axis=0)
            rows = [i for i in np.argsort(mean, kind="stable")[:k] if mean[i] < 0]
            top = {j: [i for i in np.argsort(T[j], kind="stable")[:k] if T[j, i] < 0]
                   for j in errors + right}  # fmt: skip
            found[a, b] = {
                "errors": errors,
                "rows": rows,
                "values": mean[rows],
                "share": [np.mean([i in top[j] for j in errors]) for i in rows],
                "control_share": [np.mean([i in top[j] for j in right]) for i in rows],
                "n_control": len(right),
            }
    return found


@pytest.mark.parametrize("name, k", [*((name, 7) for name in EXPLAINERS), ("representer", 300)])
def test_it_is_what_the_words_say(fits, name, k):
    e, test = fits[name], slice(300, 700)
    found = misclassifications(e, X[test], Y[test], k=k, min_errors=3)
    expected = by_loops(e, X[test], Y[test], e.predict(X[test]), k, 3)
    assert len(found) == len(expected) > 2
    assert [kind.n_errors for kind in found] == sorted((k.n_errors for k in found), reverse=True)
    for kind in found:
        own = expected[kind.true, kind.predicted]
        assert kind.n_errors == len(own["errors"]) and kind.n_control == own["n_control"] > 0
        assert_array_equal(kind.errors, own["errors"])
        assert_array_equal(kind.rows, own["rows"])
        for field in ("values", "share", "control_share"):
            assert_allclose(getattr(kind, field), own[field], rtol=1e-6, atol=1e-12)
        assert (kind.values < 0).all() and (np.diff(kind.values) >= 0).all()
    wrong = e.predict(X[test]) != Y[test]
    assert found.n_errors == wrong.sum() and found.n_samples == 400


def test_a_planted_cause_is_named():
    # rows of one class near each other, relabelled: their like are then taken for the other class
    train, y = slice(0, 900), Y[:900].copy()
    same = np.flatnonzero(y == 3)
    near = same[np.argsort(((X[same] - X[same[0]]) ** 2).sum(axis=1))[:35]]
    y[near] = 8
    e = RepresenterExplainer(C=1.0).fit(X[train], y)
    kinds = misclassifications(e, X[900:], Y[900:], min_errors=3)
    (kind,) = [kind for kind in kinds if (kind.true, kind.predicted) == (3, 8)]
    assert np.isin(kind.rows[:10], near).mean() >= 0.5
    planted = np.isin(kind.rows, near)
    assert (kind.share - kind.control_share)[planted].mean() > 0


def test_errors_of_a_black_box(fits):
    # whatever it says: the margin of the head between the two classes is explained
    e, y, taken = fits["representer"], Y[TEST], Y[TEST].copy()
    ones = np.flatnonzero(y == 1)[:6]
    taken[ones] = 7
    (kind,) = misclassifications(e, X[TEST], y, y_pred=taken)
    assert (kind.true, kind.predicted, kind.n_errors) == (1, 7, 6)
    assert_array_equal(kind.errors, ones)
    V = np.zeros((6, 10))
    V[:, 1], V[:, 7] = 1, -1
    mean = e.attribute(X[TEST][ones], V).mean(axis=0)
    assert_allclose(kind.values, np.sort(mean)[:20], rtol=1e-6)


def test_two_classes_and_labels_that_are_words():
    rows = load_iris().target > 0
    A, y = load_iris().data[rows][:, :2], load_iris(as_frame=True).target[rows].to_numpy()
    y = np.array(["setosa", "versicolor", "virginica"])[y]
    e = RepresenterExplainer().fit(A, y)
    found = misclassifications(e, A, y, k=3)
    pairs = [("versicolor", "virginica"), ("virginica", "versicolor")]
    assert sorted((kind.true, kind.predicted) for kind in found) == pairs
    for kind in found:
        # the margin of one class is the decision value, or minus it
        T = e.attribute(A[kind.errors], target=kind.true)
        assert_allclose(kind.values, np.sort(T.mean(axis=0))[:3], rtol=1e-9)
    assert "versicolor taken for virginica" in repr(found)


def test_controls_are_in_even_steps(fits, monkeypatch):
    e, y, taken = fits["representer"], Y[TEST], fits["representer"].predict(X[TEST])
    monkeypatch.setattr(sys.modules["skattrib.findings.misclassifications"], "CONTROLS", 6)
    kind = misclassifications(e, X[TEST], y, k=5)[0]
    right = np.flatnonzero((y == kind.true) & (taken == kind.true))
    assert len(right) > 12
    V = np.tile((e.classes_ == kind.true).astype(float) - (e.classes_ == kind.predicted), (6, 1))
    steps = right[[round((len(right) - 1) * step / 5) for step in range(6)]]
    top = e.top_k(X[TEST][steps], 5, target=V, largest=False)[1]
    assert kind.n_control == 6
    assert_array_equal(kind.control_share, [(top == row).any(axis=1).mean() for row in kind.rows])


def test_no_row_is_right(fits):
    taken = np.where(Y[TEST] == 1, 7, Y[TEST])
    (kind,) = misclassifications(fits["representer"], X[TEST], Y[TEST], y_pred=taken)
    assert kind.n_control == 0 and np.isnan(kind.control_share).all()
    assert str(kind).splitlines()[1].endswith(" none")


def test_no_errors(fits):
    e = fits["representer"]
    found = misclassifications(e, X[TEST], Y[TEST], y_pred=Y[TEST])
    assert len(found) == found.n_errors == 0 and list(found) == []
    assert repr(found) == "0 errors among 600 rows; kinds with at least 5: 0"


def test_rows_without_attributions_are_no_opponents():
    e = DualViewExplainer(C=10.0, tol=1e-6, random_state=0).fit(X[:60], Y[:60])
    taken = Y[TEST].copy()
    taken[np.flatnonzero(Y[TEST] == 1)[:8]] = 7
    (kind,) = misclassifications(e, X[TEST], Y[TEST], y_pred=taken, k=60)
    assert 0 < len(kind.rows) < 60 and (kind.values < 0).all()
    assert np.isin(kind.rows, e.support_).all() and (kind.share > 0).all()


@pytest.mark.parametrize("layout", [sparse.csr_array, sparse.coo_array, pd.DataFrame])
def test_layouts_of_rows(fits, layout):
    e = fits["representer"]
    expected = misclassifications(e, X[TEST], Y[TEST], k=5)
    with np.errstate(all="raise"):
        found = misclassifications(e, layout(X[TEST]), pd.Series(Y[TEST]), k=5)
    for one, other in zip(found, expected, strict=True):
        assert_array_equal(one.rows, other.rows)
        assert_allclose(one.values, other.values)


def test_the_text_says_what_it_does_not_say(fits):
    found = misclassifications(fits["representer"], X[TEST], Y[TEST])
    text, kind = repr(found), found[0]
    assert "named, not causes" in text
    assert text.startswith(f"{found.n_errors} errors among 600 rows; kinds with at least 5: ")
    lines = text.splitlines()
    at = lines.index(f"{kind.true} taken for {kind.predicted}: {kind.n_errors} errors")
    first = [str(kind.rows[0]), f"{kind.values[0]:+.3g}", f"{kind.share[0]:.0%}"]
    assert lines[at + 1].split() == [*first, f"{kind.control_share[0]:.0%}"]
    assert found[:1] == (kind,) and len(lines) == 6 * len(found) + 8
    assert repr(kind).startswith(f"ErrorKind(true={kind.true}, predicted={kind.predicted}, ")
    assert module_function is misclassifications


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"explainer": Ridge()}, ValueError, "Ridge explains no classifier"),
        ({"explainer": RepresenterRegressor()}, ValueError, "explains no classifier"),
        ({"explainer": SimilarityExplainer().fit(X[TRAIN], Y[TRAIN])}, ValueError, "no logits"),
        ({"explainer": TRAKExplainer(curvature="identity")}, ValueError, "no logits"),
        ({"explainer": RepresenterExplainer()}, NotFittedError, "not fitted"),
        ({"k": 0}, ValueError, r"k must be an integer in 1\.\.300"),
        ({"k": 301}, ValueError, r"k must be an integer in 1\.\.300"),
        ({"k": True}, ValueError, r"k must be an integer in 1\.\.300"),
        ({"k": 2.0}, ValueError, r"k must be an integer in 1\.\.300"),
        ({"min_errors": 0}, ValueError, "min_errors must be a positive integer"),
        ({"min_errors": 1.5}, ValueError, "min_errors must be a positive integer"),
        ({"y": Y[TEST][:-1]}, ValueError, "y must have one label for each of the 600 rows"),
        ({"y": Y[TEST][:, None]}, ValueError, "y must have one label for each of the 600 rows"),
        ({"y": Y[TEST] + 5}, ValueError, "label of y 1. is not one of the classes"),
        ({"y_pred": ["a"] * 600}, ValueError, "label of y_pred 'a' is not one of the classes"),
        ({"y_pred": 3}, ValueError, "y_pred must have one label for each"),
        ({"X": X[TEST][:, :5]}, ValueError, "X has 5 features"),
        ({"X": X[TEST] * np.nan}, ValueError, "X contains NaN"),
    ],
)
def test_what_does_not_fit(fits, change, error, message):
    given = {"explainer": fits["representer"], "X": X[TEST], "y": Y[TEST]} | change
    with pytest.raises(error, match=message):
        misclassifications(given.pop("explainer"), given.pop("X"), given.pop("y"), **given)
