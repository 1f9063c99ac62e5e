"""Gaps between groups against loops, and as targets of attributions against real refits."""

import re

import numpy as np
import pandas as pd
import pytest
import reference_metrics as reference
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from skattrib import InfluenceExplainer
from skattrib.metrics import demographic_parity_gap, equal_opportunity_gap

M, K = 60, 3
RNG = np.random.default_rng(0)
P = RNG.dirichlet(np.ones(K), size=M)
Y = RNG.integers(0, K, M)
GROUPS = np.array(["a", "b", "c"])[np.arange(M) % 3]
ALL = np.ones(M, dtype=bool)


@pytest.mark.parametrize("of", [np.asarray, list, pd.Series])
def test_gaps_are_those_of_loops(of):
    member = of(GROUPS.tolist()) if of is list else of(GROUPS)
    parity = demographic_parity_gap(P, member, ("c", "a"))
    opportunity = equal_opportunity_gap(P, of(Y), member, ("c", "a"))
    for c in range(K):
        expected = reference.group_gap(P[:, c], GROUPS, "c", "a", ALL)
        assert_allclose(parity.gap[c], expected, atol=1e-15)
        one = demographic_parity_gap(P[:, c], member, ("c", "a"))
        assert isinstance(one.gap, float) and one.weights.shape == (M,)
        assert_allclose(one.gap, expected, atol=1e-15)
        expected = reference.group_gap(P[:, c], GROUPS, "c", "a", c == Y)
        assert_allclose(opportunity.gap[c], expected, atol=1e-15)
        one = equal_opportunity_gap(P[:, c], of(Y), member, ("c", "a"), labels=c)
        assert_allclose(one.gap, expected, atol=1e-15)
    for found in (parity, opportunity):
        assert_allclose((found.weights * P).sum(axis=0), found.gap, atol=1e-15)
        assert not found.weights[GROUPS == "b"].any()


def test_two_groups_need_no_names_and_the_second_is_first():
    some = GROUPS != "c"
    found = demographic_parity_gap(P[some, 0], GROUPS[some])
    assert found.gap == demographic_parity_gap(P[:, 0], GROUPS, ("b", "a")).gap
    mask = demographic_parity_gap(P[:, 0], GROUPS == "a")
    assert_allclose(mask.gap, P[GROUPS == "a", 0].mean() - P[GROUPS != "a", 0].mean())
    swapped = demographic_parity_gap(P[:, 0], GROUPS, ("a", "b"))
    assert_allclose(swapped.gap, -found.gap)
    binary = np.array(["no", "yes"])[Y % 2]
    default = equal_opportunity_gap(P[:, 0], binary, GROUPS == "a")
    assert default.gap == equal_opportunity_gap(P[:, 0], binary, GROUPS == "a", labels="yes").gap


def test_predictions_give_gaps_of_rates():
    predicted = P.argmax(axis=1)
    found = equal_opportunity_gap(predicted == 1, Y, GROUPS, ("a", "b"), labels=1)
    rates = [(predicted[(Y == 1) & (g == GROUPS)] == 1).mean() for g in "ab"]
    assert_allclose(found.gap, rates[0] - rates[1])


def test_intervals_draw_within_groups():
    member = np.arange(M) % 2 == 0
    for gap in (
        lambda outputs, **how: demographic_parity_gap(outputs, member, **how),
        lambda outputs, **how: equal_opportunity_gap(outputs, Y, member, **how),
    ):
        found = gap(P, confidence=0.9, n_resamples=200, random_state=0)
        assert (found.low.gap < found.gap).all() and (found.gap < found.high.gap).all()
        assert_array_equal(gap(P).gap, found.gap)
        again = gap(P, confidence=0.9, n_resamples=200, random_state=0)
        assert_array_equal(again.low.gap, found.low.gap)
        # outputs that do not differ within groups leave nothing to draw
        constant = np.repeat(member[:, None].astype(float), K, axis=1)
        certain = gap(constant, confidence=0.9, n_resamples=20, random_state=0)
        assert_allclose([certain.low.gap, certain.high.gap], 1)
    one = demographic_parity_gap(P[:, 0], member, confidence=0.9, n_resamples=200, random_state=0)
    assert one.low.gap < one.gap < one.high.gap


@pytest.mark.parametrize("n_classes", [2, 3])
def test_attributions_of_a_gap_are_what_leaving_rows_out_does_to_it(n_classes):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(160, 4))
    y = np.digitize(X[:, 0] + 0.7 * rng.normal(size=160), [-0.5, 0.5][: n_classes - 1])
    rows, test = slice(0, 100), slice(100, None)
    member = X[test, 1] > 0
    explainer = InfluenceExplainer(C=1.0).fit(X[rows], y[rows])
    for gap in (
        lambda p: demographic_parity_gap(p, member),
        lambda p: equal_opportunity_gap(p, y[test], member),
    ):
        found = gap(explainer.predict_proba(X[test]))
        for c in range(n_classes):
            target = explainer.target_weights(X[test], "probability", c)
            effects = explainer.aggregate(X[test], target, weights=found.weights[:, c])
            for i in (0, 17, 42):
                kept = np.delete(np.arange(100), i)
                without = InfluenceExplainer(C=1.0).fit(X[rows][kept], y[rows][kept])
                truth = found.gap[c] - gap(without.predict_proba(X[test])).gap[c]
                assert_allclose(effects[i], truth, rtol=0.15, atol=1e-4)


BAD = [
    ({"outputs": np.array(["a"] * M)}, "outputs must be numbers.*predicted == label"),
    ({"outputs": np.where(P > 0.5, np.nan, P)}, "NaN"),
    ({"outputs": P[None]}, r"outputs has shape \(1, 60, 3\)"),
    ({"outputs": P[:0]}, r"outputs has shape \(0, 3\)"),
    ({"outputs": 0.5}, r"outputs has shape \(\)"),
    ({"outputs": sparse.csr_array(P)}, "outputs must not be sparse"),
    ({"sensitive_features": GROUPS[1:]}, "sensitive_features has 59 entries"),
    ({"sensitive_features": np.eye(M)}, "sensitive_features has shape"),
    ({"sensitive_features": np.where(GROUPS == "a", np.nan, 1.0)}, "missing values"),
    ({"sensitive_features": pd.Series([pd.NA, *GROUPS[1:]], dtype="string")}, "missing values"),
    ({"sensitive_features": [None, *GROUPS[1:]]}, "missing values"),
    ({"sensitive_features": np.array([3, *GROUPS[1:]], object), "groups": None}, "several kinds"),
    ({"groups": None}, r"3 groups, 'a', 'b', 'c'; name two of them"),
    ({"sensitive_features": ["a"] * M, "groups": None}, "has 1 groups"),
    ({"groups": ("a", "z")}, "no row (is )?of group 'z'"),
    ({"groups": ("a", "a")}, "two different groups"),
    ({"groups": ("a", "b", "c")}, "two different groups"),
    ({"groups": "a"}, "two different groups"),
    ({"confidence": 2.0}, "confidence is 2.0"),
]


@pytest.mark.parametrize(("bad", "message"), BAD)
@pytest.mark.parametrize("gap", [demographic_parity_gap, equal_opportunity_gap])
def test_what_is_wrong_is_said(gap, bad, message):
    given = {"outputs": P, "sensitive_features": GROUPS, "groups": ("a", "b")} | bad
    if gap is equal_opportunity_gap:
        given["y_true"] = Y
    with pytest.raises(ValueError, match=message):
        gap(**given)


@pytest.mark.parametrize(
    ("outputs", "y_true", "labels", "message"),
    [
        (P, Y[1:], None, "y_true has 59 entries but outputs has 60 rows"),
        (P[:, :2], Y, None, "y_true has 3 classes, outputs 2 columns: say by labels"),
        (P[:, 0], Y, None, "y_true has 3 classes, outputs 1 column: say by labels"),
        (P[:, :2], Y, [0], "labels must be 2 labels"),
        (P[:, 0], Y, [0], "labels must be one label"),
        (P[:, :2], Y, [1, 1], "names a class twice"),
        (P[:, :2], Y, [1, 9], "no row of group 'a' is of class 9; leave that class out"),
        (P, [None, *Y[1:]], None, "y_true has missing values"),
        (P[:, 0], np.where(Y == 2, np.nan, Y), 1, "y_true has missing values"),
        (P, np.array(["a", *Y[1:]], object), None, "y_true has labels of several kinds"),
    ],
)
def test_classes_that_do_not_fit_are_refused(outputs, y_true, labels, message):
    with pytest.raises(ValueError, match=re.compile(message)):
        equal_opportunity_gap(outputs, y_true, GROUPS, ("a", "b"), labels=labels)
