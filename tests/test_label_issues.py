"""find_label_issues: flipped labels come first, with the label that they had."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

from skattrib import (
    DualViewExplainer,
    ExemplarSVMExplainer,
    InfluenceExplainer,
    RepresenterExplainer,
    SimilarityExplainer,
    find_label_issues,
)
from skattrib.metrics import mislabel_detection_score
from skattrib.planting import flip_labels

LOADERS = {"digits": load_digits, "wine": load_wine, "cancer": load_breast_cancer}
EXPLAINERS = [
    DualViewExplainer(C=0.1, random_state=0),
    RepresenterExplainer(C=0.1),
    InfluenceExplainer(C=0.1),
    SimilarityExplainer(metric="cosine"),
    SimilarityExplainer(metric="euclidean"),
]


def load(name, n=None):
    X, y = LOADERS[name](return_X_y=True)
    return (X[:n] / 16 if name == "digits" else scale(X[:n])), y[:n]


def score_of_all(issues):
    out = np.empty(len(issues.row))
    out[issues.row] = issues.score
    return out


@pytest.mark.parametrize("explainer", EXPLAINERS, ids=lambda e: f"{e}"[:25])
@pytest.mark.parametrize("data", LOADERS)
@pytest.mark.parametrize("kind", ["uniform", "pair"])
def test_planted_flips_come_first(explainer, data, kind):
    X, y = load(data, 600)
    noisy, flipped = flip_labels(y, 0.1, kind=kind, random_state=0)
    issues = find_label_issues(explainer.fit(X, noisy), X, noisy, k=len(y))
    assert_array_equal(np.sort(issues.row), np.arange(len(y)))
    assert (np.diff(issues.score) <= 0).all()
    found = mislabel_detection_score(score_of_all(issues), flipped)
    assert found > 0.97 if hasattr(explainer, "decision_function") else found > 0.9
    model = LogisticRegression(max_iter=1000).fit(X, noisy)
    loss = -np.log(model.predict_proba(X)[np.arange(len(y)), np.searchsorted(np.unique(y), noisy)])
    if hasattr(explainer, "decision_function"):
        assert found > mislabel_detection_score(loss, flipped) - 0.01
    contradicted = find_label_issues(explainer, X, noisy)
    assert_array_equal(contradicted.row, issues.row[issues.score > 0])
    at = contradicted.row[: flipped.sum() // 2]
    assert (contradicted.suggested[: len(at)] == y[at]).mean() > 0.8


@pytest.mark.parametrize("data", ["digits", "cancer"])
def test_score_is_the_margin_of_the_head(data):
    X, y = load(data, 300)
    labels = np.array([f"class {c}" for c in range(10)])[y]
    ids = np.array([f"#{i}" for i in range(len(y))])
    explainer = RepresenterExplainer(C=0.1).fit(X, labels)
    issues = find_label_issues(explainer, X, labels, ids=ids, k=20)
    f = explainer.decision_function(X)
    f = np.column_stack([-f / 2, f / 2]) if f.ndim == 1 else f
    for row, one, given, suggested, score, evidence in zip(*issues.values(), strict=True):
        own = np.searchsorted(explainer.classes_, given)
        assert labels[row] == given and one == f"#{row}"
        assert_allclose(score, np.delete(f[row], own).max() - f[row, own])
        assert suggested == explainer.classes_[f[row].argmax()]
        T = explainer.attribute(X[[row]], suggested)[0]
        T[row] = -np.inf
        assert evidence == f"#{T.argmax()}"
    assert list(pd.DataFrame(issues)) == ["row", "id", "given", "suggested", "score", "evidence"]


def test_votes_leave_out_the_row_itself():
    X = np.array([[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]])
    y = np.array([0, 0, 1, 1, 1, 1])
    explainer = SimilarityExplainer(metric="euclidean").fit(X, y)
    issues = find_label_issues(explainer, X, y, n_neighbors=2)
    assert_array_equal(issues.row[0], 2)
    assert issues.suggested[0] == 0 and issues.score[0] == 1 and issues.evidence[0] == 1
    # repeated rows may stand before the row itself
    twins = SimilarityExplainer(metric="euclidean").fit(np.repeat(X, 2, axis=0), np.repeat(y, 2))
    issues = find_label_issues(twins, np.repeat(X, 2, axis=0), np.repeat(y, 2), n_neighbors=3)
    assert set(issues.row[:2]) <= {4, 5}
    few = ExemplarSVMExplainer(random_state=0).fit(X, y)
    assert len(find_label_issues(few, X, y, n_neighbors=2, k=3).row) == 3


@pytest.mark.parametrize("format", ["csr", "csc", "coo", "bsr", "dia", "lil", "dok"])
@pytest.mark.parametrize("explainer", [EXPLAINERS[0], EXPLAINERS[-1]], ids=["head", "votes"])
def test_rows_in_any_sparse_format(explainer, format):
    X, y = load("wine")
    noisy, _ = flip_labels(y, 0.1, random_state=0)
    explainer = clone(explainer).fit(X, noisy)
    expected = find_label_issues(explainer, X, noisy)
    found = find_label_issues(explainer, sparse.csr_array(X).asformat(format), noisy)
    assert len(found.row) > 5
    assert_array_equal(found.row, expected.row)
    assert_array_equal(found.evidence, expected.evidence)


def test_frames():
    X, y = load_wine(as_frame=True, return_X_y=True)
    X = (X - X.mean()) / X.std()
    explainer = DualViewExplainer(C=0.01, random_state=0).fit(X, y)
    issues = find_label_issues(explainer, X, y, k=5, ids=pd.Index([f"w{i}" for i in range(178)]))
    plain = DualViewExplainer(C=0.01, random_state=0).fit(X.to_numpy(), y)
    expected = find_label_issues(plain, X.to_numpy(), y.tolist(), k=5)
    assert_array_equal(issues.row, expected.row)
    assert issues.id[0] == f"w{expected.row[0]}"


def test_frames_in_another_order_are_refused():
    """Rows and labels that pandas would align are taken by position: silent nonsense."""
    X, y = load_wine(as_frame=True, return_X_y=True)
    explainer = SimilarityExplainer().fit(X, y)
    shuffled = np.random.default_rng(0).permutation(len(y))
    with pytest.raises(ValueError, match=r"indexes of X and y differ.*y.loc\[X.index\]"):
        find_label_issues(explainer, X, y.iloc[shuffled])
    with pytest.raises(ValueError, match="indexes of X and ids differ"):
        find_label_issues(explainer, X, y, ids=pd.Series(shuffled, index=shuffled))
    bare = SimilarityExplainer().fit(X.to_numpy(), y)
    with pytest.raises(ValueError, match="indexes of y and ids differ"):
        find_label_issues(bare, X.to_numpy(), y, ids=pd.Series(shuffled, index=shuffled))
    both = find_label_issues(explainer, X.iloc[shuffled], y.iloc[shuffled], k=3)
    plain = find_label_issues(explainer, X.iloc[shuffled], y.to_numpy()[shuffled], k=3)
    assert_array_equal(both.row, plain.row)


def test_no_issues():
    X, y = np.array([[-1.0], [1.0]]), np.array([0, 1])
    issues = find_label_issues(DualViewExplainer(random_state=0).fit(X, y), X, y)
    assert pd.DataFrame(issues).shape == (0, 6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"X": np.ones((3, 13))}, "the 178 training rows"),
        ({"X": np.array(3)}, "the 178 training rows"),
        ({"X": 3}, "the 178 training rows"),
        ({"y": np.ma.masked_array(np.zeros(178), mask=True)}, "y is a masked array"),
        ({"y": [0, None] * 89}, "label of y None is not one of the classes"),
        ({"y": [0, 1]}, "the 178 training rows"),
        ({"y": np.full(178, 7)}, "label of y 7 is not one of the classes"),
        ({"ids": [1]}, "one a training row"),
        ({"k": 0}, r"k must be an integer in 1\.\.178"),
        ({"k": 179}, r"k must be an integer in 1\.\.178"),
        ({"n_neighbors": 178}, r"n_neighbors must be an integer in 1\.\.177"),
    ],
)
def test_bad_input(options, message):
    X, y = load("wine")
    explainer = SimilarityExplainer().fit(X, y)
    with pytest.raises(ValueError, match=message):
        find_label_issues(explainer, **{"X": X, "y": y} | options)


def test_what_is_no_explainer():
    X, y = load("wine")
    model = make_pipeline(StandardScaler(), SimilarityExplainer()).fit(X, y)
    with pytest.raises(ValueError, match="Pipeline is no explainer; .* give the last step"):
        find_label_issues(model, X, y)
    X = model[:-1].transform(X)
    assert len(find_label_issues(model[-1], X, y, k=3).row) == 3


def test_same_class_is_refused():
    X, y = load("wine")
    with pytest.raises(ValueError, match="fit with same_class=False"):
        find_label_issues(SimilarityExplainer(same_class=True).fit(X, y), X, y)
