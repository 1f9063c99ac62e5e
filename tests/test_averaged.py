"""AveragedExplainer against loops over its members."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from cases import attributions, problem, shares
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import softmax
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GridSearchCV

from skattrib import (
    AveragedExplainer,
    DualViewExplainer,
    ExemplarSVMExplainer,
    InfluenceExplainer,
    LeaveOneOutExplainer,
    LinearHead,
    RepresenterExplainer,
    SimilarityExplainer,
)

X, Y = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)
TEST = X[::7] + 0.1
FRAME = pd.DataFrame(X, columns=list("abcd"))
PARTS = [
    ("one", RepresenterExplainer(C=0.5), [3, 0]),
    ("two", InfluenceExplainer(C=2.0), slice(1, 4)),
    ("three", DualViewExplainer(C=0.1, random_state=0), [1]),
]
WEIGHTS = np.array([1.0, 2.0, 5.0])


def by_hand(parts, weights, of, X_train=X, y=Y, X_test=TEST, **fit_options):
    """Weighted mean over members fitted alone of `of(member, test rows)`."""
    found = []
    for _, member, columns in parts:
        alone = clone(member).fit(np.ascontiguousarray(X_train[:, columns]), y, **fit_options)
        found.append(of(alone, np.ascontiguousarray(X_test[:, columns])))
    return np.tensordot(weights / np.sum(weights), np.array(found), 1)


@pytest.mark.parametrize("weights", [None, WEIGHTS, [0, 1, 0]])
def test_averages_are_loops(weights):
    e = AveragedExplainer(PARTS, weights=weights).fit(X, Y)
    w = np.ones(3) if weights is None else np.array(weights)
    f = by_hand(PARTS, w, lambda m, A: m.decision_function(A))
    assert_allclose(e.decision_function(TEST), f, atol=1e-12)
    assert_array_equal(e.predict(TEST), f.argmax(axis=1))
    own = by_hand(PARTS, w, lambda m, A: attributions(m, A, f.argmax(axis=1)))
    assert_allclose(e.attribute(TEST), own, atol=1e-12)
    V = np.random.default_rng(0).normal(size=(len(TEST), 3))
    expected = by_hand(PARTS, w, lambda m, A: attributions(m, A, V))
    assert_allclose(e.attribute(TEST, V), expected, atol=1e-12)
    how = np.linspace(-1, 1, len(TEST))
    sums = e.aggregate(TEST, V, weights=how)
    assert_allclose(sums, how @ expected, atol=1e-10)
    values, rows = e.top_k(TEST, 4, target=V)
    assert_allclose(values, -np.sort(-expected, axis=1)[:, :4], atol=1e-12)
    assert_allclose(values, np.take_along_axis(expected, rows, axis=1), atol=1e-12)
    expected = by_hand(PARTS, w, lambda m, A: m.self_influence_)
    assert_allclose(e.self_influence_, expected, atol=1e-12)


def test_shares_lie_in_the_columns_of_their_members():
    e = AveragedExplainer(PARTS, weights=WEIGHTS).fit(X, Y)
    rows = e.top_k(TEST, 3)[1]
    expected = np.zeros((*rows.shape, 4))
    for (_, member, columns), weight in zip(PARTS, WEIGHTS / 8, strict=True):
        alone = clone(member).fit(X[:, columns], Y)
        part = shares(alone, TEST[:, columns], rows, e.predict(TEST))
        expected[:, :, columns] += weight * part
    assert_allclose(e.decompose(TEST, rows), expected, atol=1e-12)


@pytest.mark.parametrize(
    "columns",
    [
        [2, 0],
        np.array([2, 0]),
        ["c", "a"],
        [True, False, True, False],
        slice("a", "c"),
        "b",
        -1,
        lambda frame: ["a", "d"],
    ],
    ids=["integers", "array", "names", "booleans", "names to", "name", "last", "callable"],
)
def test_columns_as_in_column_transformer(columns):
    meant = {
        "[2, 0]": [2, 0],
        "[True, False, True, False]": [0, 2],
        "['c', 'a']": [2, 0],
        "slice('a', 'c', None)": [0, 1, 2],
        "b": [1],
        "-1": [3],
    }.get(str(columns), [2, 0] if isinstance(columns, np.ndarray) else [0, 3])
    e = AveragedExplainer([("one", RepresenterExplainer(), columns)]).fit(FRAME, Y)
    alone = RepresenterExplainer().fit(np.ascontiguousarray(X[:, meant]), Y)
    test = pd.DataFrame(TEST, columns=list("abcd"))
    assert_array_equal(e.attribute(test), alone.attribute(np.ascontiguousarray(TEST[:, meant])))
    assert_array_equal(np.arange(4)[e.columns_[0]], meant)
    assert e.feature_names_in_.tolist() == list("abcd")


def test_polars():
    e = AveragedExplainer([("one", RepresenterExplainer(), ["d", "b"])])
    frame = pl.DataFrame(X, schema=list("abcd"))
    alone = RepresenterExplainer().fit(np.ascontiguousarray(X[:, [3, 1]]), Y)
    assert_array_equal(e.fit(frame, Y).self_influence_, alone.self_influence_)


def test_sparse_rows():
    S, S_test = sparse.csr_array(X), sparse.csr_array(TEST)
    parts = [("one", RepresenterExplainer(), [3, 0]), ("two", SimilarityExplainer(), slice(2))]
    a, b = AveragedExplainer(parts).fit(X, Y), AveragedExplainer(parts).fit(S, Y)
    T = a.attribute(TEST, 1)
    assert_allclose(b.attribute(S_test, 1), T, atol=1e-8 * np.abs(T).max())
    rows = a.top_k(TEST, 3, target=1)[1]
    expected = a.decompose(TEST, rows, target=1)
    found = b.decompose(S_test, rows, target=1)
    assert found.shape == (rows.size, 4) and found.format == "csr"
    assert_allclose(found.toarray().reshape(expected.shape), expected, atol=1e-8 * np.abs(T).max())


def test_members_without_logits_vote():
    parts = [
        ("near", SimilarityExplainer(metric="euclidean"), slice(0, 2)),
        ("far", SimilarityExplainer(metric="euclidean"), slice(2, 4)),
        ("head", RepresenterExplainer(), slice(None)),
    ]
    for weights in ([1, 1, 1], [1, 1, 3]):
        e = AveragedExplainer(parts, weights=weights).fit(X, Y)
        votes = np.zeros((len(TEST), 3))
        for (_, member, columns), weight in zip(parts, weights, strict=True):
            labels = clone(member).fit(X[:, columns], Y).predict(TEST[:, columns])
            votes[np.arange(len(TEST)), labels] += weight
        assert_array_equal(e.predict(TEST), votes.argmax(axis=1))
        for name in ("decision_function", "predict_proba", "target_weights", "base_value"):
            assert not hasattr(e, name)
        with pytest.raises(ValueError, match="AveragedExplainer has no logits"):
            e.attribute(TEST, np.ones((len(TEST), 3)))
    assert e.attribute(TEST).shape == (len(TEST), 150)


def test_what_all_members_have():
    softmaxes = [("a", RepresenterExplainer(), [0, 1]), ("b", InfluenceExplainer(), [2])]
    e = AveragedExplainer(softmaxes)
    assert hasattr(e, "predict_proba") and not hasattr(e, "base_value")
    e.fit(X, Y)
    p = softmax(e.decision_function(TEST), axis=1)
    assert_allclose(e.predict_proba(TEST), p)
    # the derivative of the log-odds of the averaged logits
    V = e.target_weights(TEST, "log_odds", 2)
    expected = np.column_stack([-p[:, :2] / p[:, :2].sum(axis=1, keepdims=True), np.ones(len(p))])
    assert_allclose(V, expected)
    svm = AveragedExplainer([("a", DualViewExplainer(), [0]), ("b", RepresenterExplainer(), [1])])
    svm.fit(X, Y)
    assert not hasattr(svm, "predict_proba") and hasattr(svm, "base_value")
    with pytest.raises(ValueError, match="'logit', 'margin' for AveragedExplainer"):
        svm.target_weights(TEST, "log_odds")


def test_weights_of_rows_go_to_all_members():
    weight = 1.0 + np.arange(len(Y)) % 3
    parts = PARTS[:2]
    e = AveragedExplainer(parts).fit(X, Y, sample_weight=weight)
    found = by_hand(parts, np.ones(2), lambda m, A: m.decision_function(A), sample_weight=weight)
    assert_allclose(e.decision_function(TEST), found, atol=1e-12)
    mixed = AveragedExplainer([*parts, ("near", SimilarityExplainer(), slice(None))])
    with pytest.raises(ValueError, match="explainer 'near' takes no sample_weight"):
        mixed.fit(X, Y, sample_weight=weight)


def test_rows_that_some_members_exclude():
    parts = [
        ("own", SimilarityExplainer(same_class=True), [0]),
        ("all", SimilarityExplainer(), [1]),
    ]
    e = AveragedExplainer(parts).fit(X, Y)
    assert_array_equal(np.isneginf(e.attribute(TEST[:2], 1)), np.tile(Y != 1, (2, 1)))
    with pytest.raises(ValueError, match="k=51, but class"):
        e.top_k(TEST, 51, target=1)
    only = AveragedExplainer(parts, weights=[0, 1]).fit(X, Y)
    assert np.isfinite(only.attribute(TEST[:2], 1)).all()


def test_retrained_members():
    few = slice(None, None, 15)
    member = LeaveOneOutExplainer(RidgeClassifier(), random_state=0)
    parts = [("a", member, [0, 1]), ("b", member, [2, 3])]
    e = AveragedExplainer(parts).fit(X[few], Y[few])
    found = by_hand(parts, np.ones(2), lambda m, A: m.attribute(A, 1), X[few], Y[few])
    assert_allclose(e.attribute(TEST, 1), found, atol=1e-9)


def test_parameters_have_names():
    e = AveragedExplainer(PARTS)
    assert e.get_params()["two__C"] == 2.0 and e.get_params()["one"] is PARTS[0][1]
    assert "two__C" not in e.get_params(deep=False)
    copied = clone(e).set_params(two__C=7.0, one=DualViewExplainer())
    assert copied.explainers[1][1].C == 7.0 and copied.explainers[1][2] == slice(1, 4)
    assert isinstance(copied.explainers[0][1], DualViewExplainer) and copied.explainers[0][2] == [
        3,
        0,
    ]
    assert PARTS[1][1].C == 2.0
    search = GridSearchCV(e, {"two__C": [1e-3, 1.0]}, cv=3).fit(X, Y)
    assert search.best_score_ > 0.9


def test_verbose(capsys):
    AveragedExplainer(PARTS[:2], verbose=1).fit(X, Y)
    assert capsys.readouterr().out.splitlines() == [
        "[AveragedExplainer] one: fit",
        "[AveragedExplainer] two: fit",
    ]


ONE = RepresenterExplainer()
BAD = {
    "empty": ([], "it is empty"),
    "no list": (ONE, "'explainers' parameter"),
    "pairs": ([("a", ONE)], r"list of \(name, explainer, columns\)"),
    "no name": ([(1, ONE, [0])], "a name being a string"),
    "no explainer": ([("a", RidgeClassifier(), [0])], "'a' is no explainer"),
    "class": ([("a", RepresenterExplainer, [0])], "'a' is no explainer"),
    "twice": ([("a", ONE, [0]), ("a", ONE, [1])], "not unique"),
    "parameter": ([("weights", ONE, [0])], "conflict with constructor"),
    "underscores": ([("a__b", ONE, [0])], "must not contain __"),
    "beyond": ([("a", ONE, [4])], "columns of explainer 'a' are not among the 4"),
    "names": ([("a", ONE, ["sepal"])], "columns of explainer 'a' are not among the 4"),
    "nothing": ([("a", ONE, [])], "'a' has no columns"),
    "none": ([("a", ONE, None)], "columns of explainer 'a'"),
    "repeated": ([("a", ONE, [1, 1])], "'a' has a column twice"),
    "floats": ([("a", ONE, [0.5])], "columns of explainer 'a'"),
}


@pytest.mark.parametrize("bad", BAD)
def test_explainers_that_are_none(bad):
    explainers, message = BAD[bad]
    with pytest.raises(ValueError, match=message):
        AveragedExplainer(explainers).fit(X, Y)


@pytest.mark.parametrize(
    "weights", [[1, 1], [1, 1, -1], [0, 0, 0], [1, np.nan, 1], "abc", 1.0, [[1, 1, 1]], [1j, 1, 1]]
)
def test_weights_that_do_not_fit(weights):
    with pytest.raises(ValueError, match="weights"):
        AveragedExplainer(PARTS, weights=weights).fit(X, Y)


def test_heads_of_other_classes():
    other = InfluenceExplainer(LinearHead(np.eye(4), classes=[0, 1, 2, 3]))
    e = AveragedExplainer([("a", ONE, [0]), ("b", other, slice(None))])
    with pytest.raises(ValueError, match="'a' and 'b' explain different classes"):
        e.fit(X, Y)


def test_weights_of_any_size():
    a, b = (AveragedExplainer(PARTS, weights=w).fit(X, Y) for w in (WEIGHTS, WEIGHTS * 1e300))
    assert_allclose(a.attribute(TEST), b.attribute(TEST), rtol=1e-12, atol=1e-14)


def test_an_svm_for_each_test_row():
    e = AveragedExplainer([("a", ExemplarSVMExplainer(), [0, 1]), ("b", ONE, [2])])
    assert e.fit(X[::10], Y[::10]).attribute(TEST[:2]).shape == (2, 15)


def test_out_that_a_member_reads():
    square = np.ascontiguousarray(X[:4])
    e = AveragedExplainer([("a", SimilarityExplainer(), slice(None))]).fit(square, [0, 1, 0, 1])
    with pytest.raises(ValueError, match="shares memory"):
        e.attribute(X[4:8], out=square)


def test_problem_of_70_classes():
    A, y, A_test = problem(70)
    parts = [("a", DualViewExplainer(C=0.1, random_state=0), slice(8)), ("b", ONE, slice(4, 12))]
    e = AveragedExplainer(parts).fit(A, y)
    T = by_hand(parts, np.ones(2), lambda m, B: attributions(m, B, y[:4]), A, y, A_test)
    assert_allclose(e.attribute(A_test, y[:4]), T, atol=1e-12)
