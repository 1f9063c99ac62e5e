"""Gradients of single rows of scikit-learn's MLPClassifier."""

import copy
import tracemalloc
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import log_softmax, softmax
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor

from skattrib import mlp_gradients
from skattrib.gradients import Sketch, mlp

LABELS = {2: np.array(["no", "yes"]), 3: np.array([-1, 4, 7])}
OUTPUTS = ("log_odds", "logit", "margin", "probability", "loss")
activations = pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
n_classes = pytest.mark.parametrize("K", [2, 3])


def network(K, activation="tanh", hidden=(4, 3), dtype=np.float64):
    rng = np.random.default_rng(K)
    X = rng.normal(size=(30, 5)).astype(dtype)
    y = LABELS[K][rng.integers(K, size=30)]
    model = MLPClassifier(hidden, activation=activation, max_iter=30, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, y), X, y


def log_probabilities(model, X, T):
    """Of the network's own probabilities at a temperature, (n, K)."""
    return log_softmax(np.log(model.predict_proba(X)) / T, axis=1)


def value(log_p, c, output):
    """An output of logarithms of probabilities; "logit" is the one of two classes."""
    others = np.delete(log_p, c)
    odds = log_p[c] - np.log(np.exp(others).sum())
    return {
        "log_odds": odds,
        "logit": odds,
        "margin": log_p[c] - others.max(),
        "probability": np.exp(log_p[c]),
        "loss": log_p[c],
    }[output]


def differences(model, X, codes, output, T=1.0, step=1e-5):
    """Central differences of outputs that the network itself predicts, weight by weight."""
    model = copy.deepcopy(model)
    columns = []
    for layer in range(len(model.coefs_)):
        for part in (model.coefs_[layer], model.intercepts_[layer]):
            for at in np.ndindex(part.shape):
                ends = []
                before = part[at]
                for sign in (1, -1):
                    part[at] = before + sign * step
                    log_p = log_probabilities(model, X, T)
                    ends.append(
                        [value(row, c, output) for row, c in zip(log_p, codes, strict=True)]
                    )
                part[at] = before
                columns.append((np.array(ends[0]) - ends[1]) / (2 * step))
    return np.transpose(columns)


def loop(model, x, v):
    """Gradient of v . z of one row by the chain rule, z being the inputs of the last activation."""
    slope = {
        "identity": lambda a: np.ones_like(a),
        "logistic": lambda a: np.exp(-a) / (1 + np.exp(-a)) ** 2,
        "tanh": lambda a: 1 / np.cosh(a) ** 2,
        "relu": lambda a: (a > 0) * 1.0,
    }[model.activation]
    act = {
        "identity": lambda a: a,
        "logistic": lambda a: 1 / (1 + np.exp(-a)),
        "tanh": np.tanh,
        "relu": lambda a: a * (a > 0),
    }[model.activation]
    inputs, sums = [x], []
    for W, b in zip(model.coefs_, model.intercepts_, strict=True):
        sums.append(W.T @ inputs[-1] + b)
        inputs.append(act(sums[-1]))
    found, delta = [], v
    for layer in range(len(model.coefs_) - 1, -1, -1):
        found = [np.outer(inputs[layer], delta).ravel(), delta, *found]
        if layer:
            delta = slope(sums[layer - 1]) * (model.coefs_[layer] @ delta)
    return np.concatenate(found)


@activations
@n_classes
@pytest.mark.parametrize("output", OUTPUTS)
def test_gradients_are_differences_of_the_networks_outputs(activation, K, output):
    if output == "logit" and K == 3:
        pytest.skip("not told by probabilities; see the next test")
    model, X, y = network(K, activation)
    codes = np.searchsorted(LABELS[K], y)
    for T in (1.0, 2.0):
        found = mlp_gradients(model, X, y, output=output, temperature=T)
        assert found.dtype == np.float64
        assert_allclose(found, differences(model, X, codes, output, T), atol=1e-8)


@activations
@n_classes
def test_gradients_are_a_loop_over_rows(activation, K):
    model, X, _ = network(K, activation)
    V = np.random.default_rng(0).normal(size=(len(X), K))
    # for two classes the logits are (-f/2, f/2)
    inner = (V[:, 1:] - V[:, :1]) / 2 if K == 2 else V
    expected = [loop(model, x, v) for x, v in zip(X, inner, strict=True)]
    assert_allclose(mlp_gradients(model, X, target=V), expected, atol=1e-12)
    expected = [loop(model, x, v / 2.0) for x, v in zip(X, inner, strict=True)]
    assert_allclose(mlp_gradients(model, X, target=V, temperature=2.0), expected, atol=1e-12)
    one = np.eye(K)[1] if K == 3 else np.ones(1)
    label = LABELS[K][1]
    found = mlp_gradients(model, X, label, output="logit")
    assert_allclose(found, [loop(model, x, one) for x in X], atol=1e-12)


@n_classes
def test_no_hidden_layer_is_the_softmax_of_the_columns(K):
    model, X, y = network(K, hidden=())
    p = softmax(np.log(model.predict_proba(X)), axis=1)
    residual = (np.asarray(y)[:, None] == LABELS[K]) - p
    residual = residual[:, 1:] if K == 2 else residual
    expected = (X[:, :, None] * residual[:, None, :]).reshape(len(X), -1)
    found = mlp_gradients(model, X, y, output="loss")
    assert_allclose(found, np.hstack([expected, residual]), atol=1e-12)


@n_classes
def test_the_predicted_class_by_default(K):
    model, X, _ = network(K)
    expected = mlp_gradients(model, X, model.predict(X))
    assert_array_equal(mlp_gradients(model, X), expected)
    assert_array_equal(mlp_gradients(model, X, list(model.predict(X))), expected)
    label = LABELS[K][0]
    assert_array_equal(
        mlp_gradients(model, X, label), mlp_gradients(model, X, np.repeat(label, 30))
    )


@n_classes
def test_layouts(K):
    model, X, y = network(K)
    expected = mlp_gradients(model, X, y)
    assert_allclose(mlp_gradients(model, sparse.csr_array(X), y), expected, atol=1e-14)
    single = mlp_gradients(model, X.astype(np.float32), y)
    assert single.dtype == np.float32
    assert_allclose(single, expected, atol=1e-5)
    model32, X32, _ = network(K, dtype=np.float32)
    assert model32.coefs_[0].dtype == np.float32
    assert mlp_gradients(model32, X32.astype(np.float64), y).dtype == np.float64


@n_classes
def test_chunks(K, monkeypatch):
    model, X, y = network(K)
    expected = mlp_gradients(model, X, y), mlp_gradients(model, X, y, k=8)
    monkeypatch.setattr(mlp, "BLOCK", 7 * 20)
    assert_allclose(mlp_gradients(model, X, y), expected[0], rtol=1e-12, atol=1e-15)
    assert_allclose(mlp_gradients(model, X, y, k=8), expected[1], rtol=1e-12, atol=1e-14)


@n_classes
def test_sketch(K):
    model, X, y = network(K)
    G = mlp_gradients(model, X, y)
    sketch, expected, start = Sketch(8, random_state=5), 0.0, 0
    for layer in range(3):
        for name in ("coefs_", "intercepts_"):
            size = getattr(model, name)[layer].size
            part = G[:, start : start + size]
            expected = expected + sketch.project(f"{name}.{layer}", part)
            start += size
    assert start == G.shape[1]
    assert_allclose(mlp_gradients(model, X, y, k=8, random_state=5), expected, atol=1e-12)
    # nothing to gain
    for k in (start, 1000):
        assert_array_equal(mlp_gradients(model, X, y, k=k), G)
    assert mlp_gradients(model, X, y, k=start - 1).shape == (30, start - 1)


def test_whole_gradients_are_not_held():
    model, X, y = network(3, hidden=(200, 200))
    X, y = np.tile(X, (40, 1)), np.tile(y, 40)
    whole = len(X) * sum(W.size for W in model.coefs_) * 8
    tracemalloc.start()
    mlp_gradients(model, X, y, k=64)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < whole / 5


def test_refusals():
    model, X, y = network(3)
    with pytest.raises(TypeError, match="mlp must be a fitted MLPClassifier.*LogisticRegression"):
        mlp_gradients(LogisticRegression().fit(X, y), X, y)
    with pytest.raises(TypeError, match="got MLPRegressor"):
        mlp_gradients(MLPRegressor(), X)
    with pytest.raises(NotFittedError):
        mlp_gradients(MLPClassifier(), X, y)
    several = MLPClassifier((3,), max_iter=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        several.fit(X, np.column_stack([y > 0, y > 5, y < 0]))
    with pytest.raises(ValueError, match="several labels a row"):
        mlp_gradients(several, X)
    for options, message in [
        ({"output": "odds"}, "output must be one of 'logit', .*got 'odds'"),
        ({"output": "loss"}, "'loss' needs y"),
        ({"y": y, "target": np.ones((30, 3))}, "give one of them"),
        ({"target": np.ones((30, 2))}, r"shape \(30, 3\)"),
        ({"target": np.full((30, 3), np.nan)}, "finite weights"),
        ({"y": 5}, "label of y 5 is not one of the classes"),
        ({"y": y[:4]}, "one label or 30 labels"),
        ({"temperature": 0.0}, "temperature must be a positive number"),
        ({"temperature": np.nan}, "temperature must be a positive number"),
        ({"temperature": True}, "temperature must be a positive number"),
        ({"k": 0}, "k must be at least 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            mlp_gradients(model, X, **options)
    with pytest.raises(ValueError, match="4 features"):
        mlp_gradients(model, X[:, :4])
    with pytest.raises(ValueError, match="NaN"):
        mlp_gradients(model, np.full_like(X, np.nan))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for k in (None, 8):
            with pytest.raises(ValueError, match="row 0 are not finite: look at the weights"):
                mlp_gradients(model, X, k=k, temperature=1e-320)
            model.coefs_[0][0, 0] = np.nan
            with pytest.raises(ValueError, match="row 0 are not finite: look at the weights"):
                mlp_gradients(model, X, k=k)
