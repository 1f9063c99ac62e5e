"""TRAK on rows of gradients."""

import warnings

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from skattrib import InfluenceExplainer, LinearHead, TRAKExplainer
from skattrib.gradients import gauss_newton
from skattrib.gradients.gauss_newton import GaussNewton

SHAPES = {"more rows": (40, 6), "more columns": (12, 30)}
shapes = pytest.mark.parametrize("shape", SHAPES)
curvatures = pytest.mark.parametrize("curvature", ["logistic", "identity"])


def problem(shape, n_models=1, seed=0):
    """(Training gradients, labels, probabilities (n, n_models), test gradients)."""
    n, k = SHAPES[shape]
    rng = np.random.default_rng(seed)
    G, test = (rng.normal(size=(rows, k * n_models)) for rows in (n, 5))
    y = np.array(["a", "b", "c"])[np.arange(n) % 3]
    return G, y, rng.random(size=(n, n_models)), test


def at_two(p):
    """Probabilities of log-odds divided by two, the default temperature."""
    return expit(np.log(p / (1 - p)) / 2)


def by_definition(G, p, test, n_models, ridge, curvature):
    """The docstring's formula in loops, with an explicit inverse."""
    p = at_two(p)
    n, k = len(G), G.shape[1] // n_models
    T, scores, residuals = 0.0, 0.0, 0.0
    for m in range(n_models):
        phi, g = (A[:, m * k : (m + 1) * k] for A in (G, test))
        w = p[:, m] * (1 - p[:, m]) if curvature == "logistic" else np.ones(n)
        H, penalty = np.zeros((k, k)), 0.0
        for i in range(n):
            H += w[i] * np.outer(phi[i], phi[i])
            penalty += ridge * w[i] * (phi[i] @ phi[i]) / n
        part = g @ np.linalg.inv(H + penalty * np.eye(k)) @ phi.T
        T = T + part * (1 - p[:, m]) / n_models
        scores = scores + part / n_models
        residuals = residuals + (1 - p[:, m]) / n_models
    return T if curvature == "logistic" else scores * residuals


@shapes
@curvatures
@pytest.mark.parametrize("n_models", [1, 3])
@pytest.mark.parametrize("layout", [np.ascontiguousarray, sparse.csr_array])
def test_attributions_are_those_of_the_formula(shape, curvature, n_models, layout):
    G, y, p, test = problem(shape, n_models)
    for ridge in (1e-3, 2.0):
        e = TRAKExplainer(n_models, ridge=ridge, curvature=curvature)
        e.fit(layout(G), y, probabilities=p)
        expected = by_definition(G, p, test, n_models, ridge, curvature)
        assert_allclose(e.attribute(layout(test)), expected, atol=1e-9 * np.abs(expected).max())
        weights = np.arange(5.0) - 1
        total = weights @ expected
        found = e.aggregate(layout(test), weights=weights)
        assert_allclose(found, total, atol=1e-9 * np.abs(expected).max())
        own = np.diag(by_definition(G, p, G, n_models, ridge, curvature))
        assert_allclose(e.self_influence_, own, rtol=1e-8)
        assert (own > 0).all()
        rows = e.top_k(layout(test), 3)[1]
        assert_array_equal(rows, np.argsort(-expected, axis=1)[:, :3])
        shares = reference.dense(e.decompose(layout(test), rows)).reshape(5, 3, -1)
        assert_allclose(shares.sum(axis=2), np.take_along_axis(expected, rows, 1), atol=1e-8)


@shapes
def test_float32_rows(shape):
    G, y, p, test = problem(shape, 2)
    expected = by_definition(G, p, test, 2, 2.0, "logistic")
    G, test = G.astype(np.float32), test.astype(np.float32)
    e = TRAKExplainer(2).fit(G, y, probabilities=p)
    T = e.attribute(test)
    assert T.dtype == np.float32 and np.shares_memory(e._fit_X, G)
    assert_allclose(T, expected, atol=1e-5 * np.abs(expected).max())


def test_without_hidden_layers_it_is_influence_on_the_head():
    """Of a binary logistic head the rows are the columns, and the constant one."""
    rng = np.random.default_rng(0)
    X, test = rng.normal(size=(60, 4)), rng.normal(size=(5, 4))
    y = (X[:, 0] + rng.normal(size=60) > 0).astype(int)
    model = LogisticRegression().fit(X, y)
    p = model.predict_proba(X)[np.arange(60), y]
    sign, one = 2 * y[:, None] - 1, np.ones((60, 1))
    G = sign * np.hstack([X, one])
    e = TRAKExplainer(temperature=1.0).fit(G, y, probabilities=p)
    head = LinearHead(model.coef_, model.intercept_)
    influence = InfluenceExplainer(head, C=1 / e.penalty_[0], leverage_correction=False).fit(X, y)
    found = e.attribute(np.hstack([test, one[:5]]))
    assert_allclose(found, influence.attribute(test, 1), rtol=1e-9)


@shapes
@curvatures
def test_ridge_is_in_units_of_the_gradients(shape, curvature):
    G, y, p, test = problem(shape)
    e = TRAKExplainer(curvature=curvature).fit(G, y, probabilities=p)
    scaled = TRAKExplainer(curvature=curvature).fit(1e3 * G, y, probabilities=p)
    assert_allclose(scaled.attribute(1e3 * test), e.attribute(test), rtol=1e-9)
    own = at_two(p[:, 0])
    w = own * (1 - own) if curvature == "logistic" else np.ones(len(G))
    assert_allclose(e.penalty_, [2.0 * np.mean(w * (G**2).sum(axis=1))])
    # neither the width nor the number of rows
    wide = np.hstack([G, np.zeros((len(G), 50))])
    found = TRAKExplainer(curvature=curvature).fit(wide, y, probabilities=p)
    assert_allclose(found.penalty_, e.penalty_)
    twice = TRAKExplainer(curvature=curvature)
    twice.fit(np.vstack([G, G]), np.append(y, y), probabilities=np.vstack([p, p]))
    assert_allclose(twice.penalty_, e.penalty_)
    T = twice.attribute(test)
    assert_allclose(T[:, : len(G)], T[:, len(G) :], rtol=1e-12)


@shapes
@curvatures
def test_effective_dimension(shape, curvature):
    G, y, p, _ = problem(shape, 2)
    e = TRAKExplainer(2, ridge=0.5, curvature=curvature).fit(G, y, probabilities=p)
    k = G.shape[1] // 2
    for m in range(2):
        own = at_two(p[:, m])
        w = own * (1 - own) if curvature == "logistic" else np.ones(len(G))
        part = G[:, m * k : (m + 1) * k] * np.sqrt(w)[:, None]
        values = np.linalg.svd(part, compute_uv=False) ** 2
        expected = np.sum(values / (values + e.penalty_[m]))
        assert_allclose(e.effective_dimension_[m], expected, rtol=1e-9)


@curvatures
def test_temperature_divides_log_odds(curvature):
    G, y, p, test = problem("more rows")
    plain = TRAKExplainer(curvature=curvature, temperature=1.0)
    for temperature in (2.0, 5.0):
        warm = expit(np.log(p / (1 - p)) / temperature)
        expected = plain.fit(G, y, probabilities=warm).attribute(test)
        e = TRAKExplainer(curvature=curvature, temperature=temperature)
        e.fit(G, y, probabilities=p)
        assert_allclose(e.attribute(test), expected, rtol=1e-10)


@shapes
def test_rows_that_are_certain_contribute_nothing(shape):
    G, y, p, test = problem(shape)
    p[[1, 4]] = 1.0
    p[2] = 0.0
    T = TRAKExplainer().fit(G, y, probabilities=p).attribute(test)
    assert_array_equal(T[:, [1, 4]], 0.0)
    assert_allclose(T, by_definition(G, p, test, 1, 2.0, "logistic"), rtol=1e-9, atol=1e-12)


@shapes
def test_without_probabilities_rows_weigh_alike(shape):
    G, y, p, test = problem(shape, 2)
    half = np.full_like(p, 0.5)
    with pytest.warns(UserWarning, match="all rows weigh alike") as caught:
        e = TRAKExplainer(2).fit(G, y)
    assert caught[0].filename == __file__
    expected = TRAKExplainer(2).fit(G, y, probabilities=half).attribute(test)
    assert_array_equal(e.attribute(test), expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        e = TRAKExplainer(2, curvature="identity").fit(G, y)
    # the curvature is that of "logistic" but for a factor
    assert_allclose(4 * e.attribute(test), expected, rtol=1e-9)


def test_the_class_whose_rows_raise_the_output():
    G, y, p, test = problem("more rows", 2)
    e = TRAKExplainer(2).fit(G, y, probabilities=p)
    T = e.attribute(test)
    sums = np.column_stack([T[:, y == c].sum(axis=1) for c in "abc"])
    assert_array_equal(e.predict(test), np.array(list("abc"))[sums.argmax(axis=1)])
    assert len(set(e.predict(G))) == 3
    # targets are labels, and rows say what is explained
    assert_array_equal(e.attribute(test, "b"), T)
    assert_array_equal(e.attribute(test, list("abcab")), T)


def test_small_sketches_are_named():
    rng = np.random.default_rng(0)
    G, y = rng.normal(size=(500, 128)), np.arange(500) % 2
    p = np.full(500, 0.5)
    with pytest.warns(UserWarning, match=r"effective dimension .* is \d+ of 128 columns.*larger k"):
        e = TRAKExplainer().fit(G, y, probabilities=p)
    assert e.effective_dimension_[0] > 128 / 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TRAKExplainer(ridge=100.0).fit(G, y, probabilities=p)
        TRAKExplainer().fit(G[:, :100], y, probabilities=p)  # hardly a sketch
        TRAKExplainer().fit(G[:100], y[:100], probabilities=p[:100])  # rows are the limit


@pytest.mark.filterwarnings("error")
def test_refusals():
    G, y, p, test = problem("more rows", 2)
    for given, message in [
        (p[:, 0], r"probabilities must have shape \(40, 2\), .* got \(40,\)"),
        (p[:9], r"shape \(40, 2\)"),
        (p + 1, r"must lie in 0..1"),
        (np.full_like(p, np.nan), r"must lie in 0..1"),
        (np.round(p), "all probabilities are 0 or 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            TRAKExplainer(2).fit(G, y, probabilities=given)
    TRAKExplainer(2, curvature="identity").fit(G, y, probabilities=np.round(p))
    with pytest.raises(ValueError, match="X has 12 columns, which n_models=5 does not divide"):
        TRAKExplainer(5, curvature="identity").fit(G, y)
    with pytest.raises(ValueError, match="which n_models=13 does not divide"):
        TRAKExplainer(13, curvature="identity").fit(G, y)
    with pytest.raises(ValueError, match="ridge=1e-30 is too small"):
        TRAKExplainer(curvature="identity", ridge=1e-30).fit(np.repeat(G[:, :6], 2, axis=1), y)
    for scale, ridge in [(1e120, 9e99), (1e120, 9e299)]:
        with pytest.raises(ValueError, match="overflows: scale them"):
            TRAKExplainer(curvature="identity", ridge=ridge).fit(scale * G, y)
    with pytest.raises(ValueError, match="all probabilities are 0 or 1"):
        TRAKExplainer(2, temperature=1e-320).fit(G, y, probabilities=p)
    e = TRAKExplainer(2, curvature="identity").fit(G, y)
    with pytest.raises(ValueError, match="no logits: target must be one label"):
        e.attribute(test, np.ones((5, 3)))


@pytest.mark.filterwarnings("error")
def test_parameters_of_numpy():
    G, y, p, test = problem("more rows")
    expected = TRAKExplainer(ridge=0.5, temperature=2.0).fit(G, y, probabilities=p).attribute(test)
    own = TRAKExplainer(ridge=np.float32(0.5), temperature=np.float16(2.0))
    assert_allclose(own.fit(G, y, probabilities=p).attribute(test), expected)


@pytest.mark.filterwarnings("error")
def test_huge_and_tiny_gradients():
    G, y, p, test = problem("more rows")
    expected = TRAKExplainer().fit(G, y, probabilities=p).attribute(test)
    for scale in (1e120, 1e-120, 1e-150):
        T = TRAKExplainer().fit(scale * G, y, probabilities=p).attribute(scale * test)
        assert_allclose(T, expected, rtol=1e-9)


def test_rows_of_zeros_know_nothing():
    e = TRAKExplainer(curvature="identity").fit(np.zeros((4, 3)), [0, 1, 0, 1])
    assert_array_equal(e.attribute(np.ones((2, 3))), 0.0)
    assert_array_equal(e.effective_dimension_, 0.0)


@shapes
def test_factors_in_blocks(shape, monkeypatch):
    G, _, p, test = problem(shape)
    whole = GaussNewton(G, p[:, 0], 2.0)
    monkeypatch.setattr(gauss_newton, "BLOCK", 100)
    parts = GaussNewton(sparse.csr_array(G), p[:, 0], 2.0)
    assert_allclose(parts.solve(test), whole.solve(test), rtol=1e-9)
    H = G.T @ (p * G) + whole.penalty * np.eye(G.shape[1])
    assert_allclose(whole.solve(test) @ H, test, atol=1e-10)
