"""C="scale": rows in other units have the same head, in other units."""

import numpy as np
import pytest
from cases import attributions, laid_out, layouts, problem
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from skattrib import (
    DualViewExplainer,
    DualViewExplainerCV,
    InfluenceExplainer,
    LinearHead,
    RepresenterExplainer,
)
from skattrib._arrays import total_variance

EXACT = {"tol": 1e-12, "max_iter": 100_000, "canonical": True, "random_state": 0}
SCALED = {
    "DualView": DualViewExplainer(**EXACT),
    "DualViewCV": DualViewExplainerCV(Cs=2, cv=2, **EXACT),
    "Representer": RepresenterExplainer(tol=1e-12),
    "Influence": InfluenceExplainer(tol=1e-12),
    "Influence-ekfac": InfluenceExplainer(tol=1e-12, inverse="ekfac"),
}
each_scaled = pytest.mark.parametrize("name", SCALED)


def variance(X, weight=None):
    X = X.toarray() if sparse.issparse(X) else X
    mean = np.average(X, axis=0, weights=weight)
    return np.average(np.sum((X.astype(np.float64) - mean) ** 2, axis=1), weights=weight)


@layouts
@pytest.mark.parametrize("weighted", [False, True])
def test_total_variance(layout, weighted):
    X = problem(3, layout)[0]
    weight = np.arange(X.shape[0]) % 4 * 1e300 if weighted else np.ones(X.shape[0])
    expected = variance(X, weight / weight.max())
    assert total_variance(X, weight) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("layout", ["dense64", "csr64"])
def test_total_variance_of_rows_far_from_zero(layout):
    rng = np.random.default_rng(0)
    X = laid_out(rng.normal(size=(5000, 3)) + 1e5, layout)
    rel = 1e-9 if layout == "dense64" else 1e-4
    assert total_variance(X, np.ones(5000)) == pytest.approx(variance(X), rel=rel)


@pytest.mark.parametrize("layout", ["dense32", "csr64"])
def test_equal_rows_have_no_variance(layout):
    X = laid_out(np.tile(np.array([0.1, 0.3, 1e5]), (977, 1)), layout)
    assert total_variance(X, np.full(977, 0.7)) == 0


@each_scaled
@pytest.mark.parametrize("K", [2, 3])
@pytest.mark.parametrize("unit", [2.0**-20, 1e5])
def test_the_unit_of_the_rows_does_not_matter(name, K, unit):
    X, y, X_test = problem(K)
    weight = 1.0 + np.arange(len(y)) % 3
    one = clone(SCALED[name]).fit(X, y, weight)
    other = clone(SCALED[name]).fit(unit * X, y, weight)
    assert pytest.approx(one.C_ / unit**2, rel=1e-12) == other.C_
    rtol = 1e-8
    assert_allclose(other.coef_ * unit, one.coef_, rtol=0, atol=rtol * np.abs(one.coef_).max())
    size = np.abs(one.decision_function(X)).max()
    assert_allclose(other.intercept_, one.intercept_, rtol=0, atol=rtol * size)
    assert np.abs(one.intercept_).max() > 1e-3
    for target in (None, one.classes_[1]):
        T, found = attributions(one, X_test, target), attributions(other, unit * X_test, target)
        assert_allclose(found, T, rtol=0, atol=rtol * np.abs(T).max())


@each_scaled
def test_C_is_over_the_variance(name):
    X, y, _ = problem(3)
    weight = 1.0 + np.arange(len(y)) % 3
    e = clone(SCALED[name]).fit(X, y, weight)
    C = 1 / variance(X, weight)
    if name == "DualViewCV":
        assert_allclose(e.Cs_, [1e-4 * C, 1e4 * C], rtol=1e-12)
        assert e.C_ in e.Cs_
    else:
        assert pytest.approx(C, rel=1e-12) == e.C_


@pytest.mark.parametrize("Cs", [10, None])
def test_ten_multiples_by_default(Cs):
    X, y, _ = problem(2)
    e = DualViewExplainerCV(Cs=Cs, cv=2, max_iter=5, tol=0.1, random_state=0).fit(X, y)
    assert_allclose(e.Cs_ * variance(X), np.logspace(-4, 4, 10), rtol=1e-12)


def test_numbers_mean_what_they_are():
    # the constant feature is 1
    X, y, _ = problem(2)
    head = LogisticRegression(
        C=0.3, solver="liblinear", intercept_scaling=1.0, tol=1e-12, max_iter=10_000
    ).fit(X, y)
    for e in (RepresenterExplainer(C=0.3, tol=1e-12), InfluenceExplainer(C=0.3, tol=1e-12)):
        e.fit(X, y)
        assert e.C_ == 0.3
        assert_allclose(e.coef_, head.coef_, rtol=1e-5)
        assert_allclose(e.intercept_, head.intercept_, rtol=1e-5)


def test_a_frozen_head_has_its_own():
    X, y, _ = problem(3)
    model = LogisticRegression(C=0.7, tol=1e-10).fit(X, y)
    assert InfluenceExplainer(FrozenEstimator(model)).fit(X, y).C_ == 0.7
    free = LogisticRegression(C=np.inf, tol=1e-10).fit(X, y)
    assert np.inf == InfluenceExplainer(FrozenEstimator(free)).fit(X, y).C_


@pytest.mark.parametrize("name", ["DualView", "Representer"])
def test_constant_rows(name):
    # nothing to tell them by: the share of the intercept is all there is
    X = np.full((9, 2), 3.0)
    e = clone(SCALED[name]).fit(X, [0, 1, 2] * 3)
    assert pytest.approx(1 / 18) == e.C_
    zeros = clone(SCALED[name]).fit(0 * X, [0, 1, 2] * 3)
    assert zeros.C_ == 1.0
    assert (attributions(zeros, X[:2]) == 0).all()


@each_scaled
def test_rows_too_small_to_square(name):
    X, y, _ = problem(3)
    with pytest.raises(ValueError, match="variance of the rows .* scale the features"):
        clone(SCALED[name]).fit(1e-73 * X, y)


# a network's head


def test_a_linear_head_at_a_temperature():
    rng = np.random.default_rng(0)
    W, b, X = rng.normal(size=(3, 4)), rng.normal(size=3), rng.normal(size=(5, 4))
    plain, tempered = LinearHead(W, b), LinearHead(W, b, temperature=2.0)
    assert_array_equal(tempered.coef_, W / 2)
    assert_array_equal(tempered.intercept_, b / 2)
    assert_allclose(tempered.decision_function(X), plain.decision_function(X) / 2)
    p = np.exp((X @ W.T + b) / 2)
    assert_allclose(tempered.predict_proba(X), p / p.sum(axis=1, keepdims=True))
    one = LinearHead(W[:1], b[:1], temperature=4.0)
    assert_allclose(one.decision_function(X), (X @ W[0] + b[0]) / 4)


@pytest.mark.parametrize("bad", [0, -1.0, np.nan, np.inf, "2", None, True, [2.0], 1e-320])
def test_temperatures_that_are_none(bad):
    with pytest.raises(ValueError, match="temperature"):
        LinearHead(np.eye(3), temperature=bad).decision_function(np.eye(3))


def test_influence_of_a_network_by_its_formula():
    """T = 2, C = 4 over the variance, no refit and no leverage correction."""
    rng = np.random.default_rng(0)
    X, y, X_test = problem(3)
    K, d = 3, X.shape[1]
    W, b = 4 * rng.normal(size=(K, d)), rng.normal(size=K)
    head = LinearHead(W, b, classes=np.unique(y), temperature=2.0)
    e = InfluenceExplainer(FrozenEstimator(head)).fit(X, y)
    assert not e.leverage_correction_ and e.gradient_norm_ > 1e-2

    s2 = variance(X)
    phi, phi_test = (np.column_stack([A, np.full(len(A), np.sqrt(s2))]) for A in (X, X_test))
    z = (X @ W.T + b) / 2
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    r = np.eye(K)[np.searchsorted(np.unique(y), y)] - p
    H = s2 / 4 * np.eye(K * (d + 1))
    for pi, x in zip(p, phi, strict=True):
        H += np.kron(np.diag(pi) - np.outer(pi, pi), np.outer(x, x))
    G = np.stack([np.outer(ri, x).ravel() for ri, x in zip(r, phi, strict=True)])
    V = e.target_weights(X_test, "log_odds")
    z_test = (X_test @ W.T + b) / 2
    odds = np.exp(z_test)
    own = z_test.argmax(axis=1)
    odds[np.arange(len(own)), own] = 0
    expected_V = np.eye(K)[own] - odds / odds.sum(axis=1, keepdims=True)
    assert_allclose(V, expected_V, atol=1e-12)
    seeds = np.stack([np.outer(v, x).ravel() for v, x in zip(V, phi_test, strict=True)])
    expected = seeds @ np.linalg.solve(H, G.T)
    assert_allclose(e.attribute(X_test, V), expected, atol=1e-9 * np.abs(expected).max())


def test_leverage_is_corrected_at_a_minimum_only():
    X, y, _ = problem(3)
    model = LogisticRegression(C=0.5, tol=1e-10).fit(X, y)
    assert InfluenceExplainer(FrozenEstimator(model)).fit(X, y).leverage_correction_
    moved = LinearHead(model.coef_, model.intercept_ + 0.5, model.classes_)
    assert not InfluenceExplainer(moved).fit(X, y).leverage_correction_
    always = InfluenceExplainer(moved, leverage_correction=True).fit(X, y)
    assert always.leverage_correction_
