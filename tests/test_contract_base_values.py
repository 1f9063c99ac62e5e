"""What attributions leave out: base values, and attributions that hold the intercept's shares."""

import numpy as np
import pytest
import reference
from cases import (
    COEF,
    EXPLAINERS,
    HEADS,
    attributions,
    fit,
    fitted,
    label_weights,
    labels_of,
    layouts,
    logits,
    n_classes,
    problem,
    shares,
    targets,
)
from numpy.testing import assert_allclose, assert_array_equal

ADDITIVE = [name for name in HEADS if hasattr(EXPLAINERS[name], "base_value")]
DUAL = [name for name in ADDITIVE if name in COEF]
each_additive = pytest.mark.parametrize("name", ADDITIVE)
each_dual = pytest.mark.parametrize("name", DUAL)


def weights_of(e, X, target):
    return target if np.ndim(target) == 2 else label_weights(e, labels_of(e, X, target))


def test_who_is_additive():
    assert {"DualView", "DualViewCV", "Representer", "Averaged"} <= set(ADDITIVE)
    assert not any(name.startswith(("Influence", "Datamodel")) for name in ADDITIVE)


@each_additive
@n_classes
@layouts
def test_attributions_and_base_value_sum_to_the_output(name, K, layout):
    X, _, X_test = problem(K, layout)
    e = fitted(name, K, layout)
    for target in targets(e, X_test).values():
        T = attributions(e, X_test, target).astype(np.float64)
        base = e.base_value(X_test, target)
        assert base.shape == (X_test.shape[0],) and base.dtype == np.float64
        output = np.sum(weights_of(e, X_test, target) * logits(e, X_test), axis=1)
        # of DualView they are exact, others stop at a completeness error of 1e-10
        atol = (8 * np.finfo(X.dtype).eps + 1e-9) * np.abs(T).sum(axis=1).max()
        assert_allclose(T.sum(axis=1) + base, output, rtol=0, atol=atol)
        assert np.abs(base).max() > 1e-3 * np.abs(output).max()


@each_dual
@n_classes
def test_base_value_is_the_intercept(name, K):
    X_test = problem(K)[2]
    e = fitted(name, K)
    b = np.append(-e.intercept_ / 2, e.intercept_ / 2) if K == 2 else e.intercept_
    for target in targets(e, X_test).values():
        assert_array_equal(e.base_value(X_test, target), weights_of(e, X_test, target) @ b)
    if K == 2:
        assert_array_equal(e.base_value(X_test, "yes"), np.full(7, e.intercept_[0]))
        assert_array_equal(e.base_value(X_test, "no"), np.full(7, -e.intercept_[0]))


@each_dual
@pytest.mark.parametrize("C", [0.25, "scale"])
@n_classes
def test_shares_of_the_intercept(name, K, C):
    X, y, X_test = problem(K)
    options = {"Cs": 2 if C == "scale" else [C]} if name == "DualViewCV" else {"C": C}
    without, with_share = (
        fit(EXPLAINERS[name], X, y, intercept_share=share, **options) for share in (False, True)
    )
    assert_array_equal(without.coef_, with_share.coef_)
    # the constant feature is 1, or as large as the root of the variance
    square = np.mean(np.sum((X - X.mean(axis=0)) ** 2, axis=1)) if C == "scale" else 1.0
    dual = reference.dense(without.dual_coef_)
    dual = np.concatenate([-dual / 2, dual / 2]) if K == 2 else dual
    alpha = np.zeros((K, len(y)))
    alpha[:, without.support_] = dual
    for target in targets(without, X_test).values():
        share = weights_of(without, X_test, target) @ alpha * square
        T, whole = (attributions(e, X_test, target) for e in (without, with_share))
        assert_allclose(whole - T, share, rtol=0, atol=1e-12 * np.abs(whole).max())
        sums = share.sum(axis=1)
        base = without.base_value(X_test, target)
        assert_allclose(sums, base, rtol=0, atol=1e-9 * np.abs(share).sum(axis=1).max())
        assert_array_equal(with_share.base_value(X_test, target), 0)
    own = without.self_influence_, with_share.self_influence_
    of_own_class = np.take_along_axis(
        label_weights(without, y) @ alpha, np.arange(len(y))[:, None], axis=1
    )[:, 0]
    assert_allclose(own[1] - own[0], of_own_class * square, atol=1e-12 * np.abs(own[1]).max())


@each_dual
def test_without_an_intercept_there_is_no_base_value(name):
    X, y, X_test = problem(3)
    e = fit(EXPLAINERS[name], X, y, fit_intercept=False)
    assert_array_equal(e.base_value(X_test), 0)
    assert_array_equal(e.base_value(X_test, 4), 0)


@pytest.mark.parametrize("name", ADDITIVE)
@layouts
def test_shares_of_features_sum_to_the_attributions(name, layout):
    X, _, X_test = problem(3, layout)
    e = fitted(name, 3, layout)
    rows = e.top_k(X_test, 4)[1]
    T = np.take_along_axis(attributions(e, X_test), rows, axis=1)
    found = shares(e, X_test, rows).sum(axis=2)
    assert_allclose(found, T, rtol=0, atol=32 * np.finfo(X.dtype).eps * np.abs(T).max())
