"""Training rows: their weights, repetitions and order."""

import numpy as np
import pytest
import reference
from cases import (
    EXPLAINERS,
    LABELS,
    OWN_HEAD,
    RETRAINED,
    TIGHT,
    assert_agree,
    assert_close,
    attributions,
    each_weighted,
    fit,
    laid_out,
    largest,
    layouts,
    n_classes,
    problem,
    targets,
    two_layouts,
)
from numpy.testing import assert_array_equal
from sklearn.utils import compute_sample_weight

each_own_weight = pytest.mark.parametrize("name", [*OWN_HEAD, "Influence-frozen"])


def without_correction(name):
    """Parameters by which a row and its copies attribute as one row of their weight.

    Not with the leverage correction: it is for one copy to go, or for the whole weight.
    """
    return {"leverage_correction": False} if name.startswith("Influence") else {}


@each_weighted
@n_classes
def test_weights_are_repetitions(name, K):
    X, y, X_test = problem(K)
    times = np.random.default_rng(0).integers(1, 4, size=len(y))
    options = without_correction(name) | TIGHT.get(name, {})
    a = fit(EXPLAINERS[name], X, y, times, **options)
    b = fit(a, np.repeat(X, times, axis=0), np.repeat(y, times))
    assert_agree(a.decision_function(X_test), b.decision_function(X_test))
    starts = np.cumsum(times) - times
    for target in targets(a, X_test).values():
        T = attributions(b, X_test, target)
        assert_agree(np.add.reduceat(T, starts, axis=1), attributions(a, X_test, target))
        assert_agree(T[:, starts] * times, attributions(a, X_test, target))


@each_weighted
@layouts
def test_rows_of_weight_zero_contribute_nothing(name, layout):
    X, y, X_test = problem(3, layout)
    weight = np.random.default_rng(0).integers(0, 4, size=len(y)) / 2.0
    single = name.startswith("DualView") and layout.endswith("32")
    options = {"tol": 1e-7} if single else TIGHT.get(name, {})
    a = fit(EXPLAINERS[name], X, y, weight, **options)
    kept = np.flatnonzero(weight)
    b = fit(a, X[kept], y[kept], weight[kept])
    rtol = 2e-3 if single else 1e-5
    for target in targets(a, X_test).values():
        T = attributions(a, X_test, target)
        assert_array_equal(T[:, weight == 0], 0)
        assert_agree(T[:, kept], attributions(b, X_test, target), rtol)
    assert_array_equal(a.self_influence_[weight == 0], 0)
    assert (a.self_influence_[kept] != 0).sum() > len(kept) / 2


# a frozen head with a free intercept has no minimum without rows of a class
@pytest.mark.parametrize("name", OWN_HEAD)
def test_a_class_whose_rows_all_have_weight_zero(name):
    X, y, X_test = problem(3)
    e = fit(EXPLAINERS[name], X, y, y != 4)
    assert_array_equal(e.classes_, [-1, 4, 7])
    for label in e.classes_:
        T = attributions(e, X_test, label)
        assert largest(T) > 0 and (T[:, y == 4] == 0).all()
        assert_array_equal(e.top_k(X_test, 1, target=label)[0][:, 0], T.max(axis=1))


def class_factors(class_weight, y, w):
    if class_weight != "balanced":
        return compute_sample_weight(class_weight, y)
    totals = {label: w[y == label].sum() for label in np.unique(y)}
    return np.array([w.sum() / len(totals) / totals[label] for label in y])


@each_own_weight
@n_classes
def test_class_weight_multiplies_sample_weight(name, K):
    X, y, X_test = problem(K)
    e, labels = EXPLAINERS[name], LABELS[K]
    weight = np.random.default_rng(0).integers(1, 4, size=len(y)) / 2.0
    # a frozen LogisticRegression has its own
    key = "estimator__class_weight" if name == "Influence-frozen" else "class_weight"
    for class_weight in ({labels[0]: 3.0, labels[1]: 0.5}, "balanced"):
        for w in (np.ones(len(y)), weight):
            s = class_factors(class_weight, y, w)
            assert len(np.unique(s)) > 1
            b = fit(e, X, y, s * w)
            shared = {"estimator": b.estimator} if name == "Representer-forest" else {}
            a = fit(e, X, y, w, **shared, **{key: class_weight})
            assert_agree(attributions(a, X_test), attributions(b, X_test), 1e-12)
        plain = fit(b, X, y)
        assert np.abs(attributions(a, X_test) - attributions(plain, X_test)).max() > 1e-3


def test_balanced_weights_of_a_frozen_head():
    X, y, _ = problem(3)
    weight = np.random.default_rng(0).integers(1, 4, size=len(y)) / 2.0
    e = fit(EXPLAINERS["Influence-frozen"], X, y, weight, estimator__class_weight="balanced")
    assert e.gradient_norm_ < 1e-9


@each_own_weight
def test_class_weights_that_do_not_fit(name):
    X, y, _ = problem(3)
    if name == "Influence-frozen":
        with pytest.raises(ValueError, match="class_weight is that of the frozen"):
            fit(EXPLAINERS[name], X, y, class_weight="balanced")
        return
    for class_weight, message in [
        ({5: 1.0}, "class_weight"),
        ({4: -1.0}, "class_weight must be finite, negative nowhere"),
        ({4: np.nan}, "class_weight must be finite"),
        ({-1: 0, 4: 0, 7: 0}, "positive for some rows"),
        ("equal", "'class_weight' parameter.*'balanced'"),
    ]:
        with pytest.raises(ValueError, match=message):
            fit(EXPLAINERS[name], X, y, class_weight=class_weight)


@pytest.mark.parametrize("name", OWN_HEAD)
def test_weights_scale_like_C(name):
    X, y, X_test = problem(3)
    one, half = ({"Cs": [C]} if name == "DualViewCV" else {"C": C} for C in (0.25, 0.125))
    a = fit(EXPLAINERS[name], X, y, **one)
    b = fit(a, X, y, np.full(len(y), 2.0), **half)
    c = fit(a, X, y, 2, **half)
    if not name.startswith("Influence"):
        assert_agree(attributions(b, X_test), attributions(a, X_test), 1e-12)
    assert_agree(b.coef_, a.coef_, 1e-12)
    assert_array_equal(attributions(b, X_test), attributions(c, X_test))


# random subsets tell equal rows apart, and refits agree up to their own tolerance
own_fit = pytest.mark.parametrize("name", [name for name in EXPLAINERS if name not in RETRAINED])


@own_fit
@two_layouts
def test_equal_rows_have_equal_attributions(name, layout):
    X, y, X_test = problem(3, layout)
    n = X.shape[0]
    stacked = laid_out(np.tile(reference.dense(X), (2, 1)), layout)
    e = fit(EXPLAINERS[name], stacked, np.tile(y, 2))
    for target in targets(e, X_test).values():
        T = attributions(e, X_test, target)
        assert_close(T[:, :n], T[:, n:])
    own = e.self_influence_
    assert_close(own[:n], own[n:])


@own_fit
@n_classes
def test_order_of_training_rows(name, K):
    X, y, X_test = problem(K)
    e = fit(EXPLAINERS[name], X, y, **TIGHT.get(name, {}))
    order = np.random.default_rng(0).permutation(len(y))
    other = fit(e, X[order], y[order])
    for target in targets(e, X_test).values():
        expected = attributions(e, X_test, target)[:, order]
        assert_agree(attributions(other, X_test, target), expected)
    assert_agree(other.self_influence_, e.self_influence_[order])
