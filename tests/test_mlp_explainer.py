"""TRAK of scikit-learn's MLPClassifier on raw columns."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skattrib import MLPExplainer, TRAKExplainer, mlp_gradients

LABELS = {2: np.array(["no", "yes"]), 3: np.array([-1, 4, 7])}
n_classes = pytest.mark.parametrize("K", [2, 3])
curvatures = pytest.mark.parametrize("curvature", ["logistic", "identity"])
NETWORK = MLPClassifier((5,), solver="lbfgs", max_iter=50, alpha=0.1, random_state=0)


def problem(K):
    rng = np.random.default_rng(K)
    X = rng.normal(size=(40, 4))
    y = LABELS[K][np.digitize(X[:, 0] + rng.normal(size=40), [-0.5, 0.5][: K - 1])]
    return X, y, rng.normal(size=(6, 4))


def networks(K, hidden=((5,), (5,))):
    X, y, _ = problem(K)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [
            clone(NETWORK).set_params(hidden_layer_sizes=size, random_state=seed).fit(X, y)
            for seed, size in enumerate(hidden)
        ]


def own(model, X, y):
    return model.predict_proba(X)[np.arange(len(y)), np.searchsorted(model.classes_, y)]


@n_classes
@curvatures
@pytest.mark.parametrize("ridge", [0.1, 2.0])
def test_attributions_are_those_of_trak_on_gradients(K, curvature, ridge):
    X, y, test = problem(K)
    models = networks(K)
    frozen = [FrozenEstimator(model) for model in models]
    options = {"ridge": ridge, "curvature": curvature}
    e = MLPExplainer(frozen, temperature=1.0, **options).fit(X, y)
    rows = lambda A, labels: np.hstack([mlp_gradients(m, A, labels) for m in models])  # noqa: E731
    p = np.column_stack([own(model, X, y) for model in models])
    expected = TRAKExplainer(2, temperature=1.0, **options)
    expected.fit(rows(X, y), y, probabilities=p)
    for target in (LABELS[K][0], np.resize(LABELS[K], 6)):
        T = expected.attribute(rows(test, target))
        assert_allclose(e.attribute(test, target), T, rtol=1e-8, atol=1e-10)
        sums = e.aggregate(test, target, weights=np.arange(6))
        assert_allclose(sums, np.arange(6) @ T, rtol=1e-8, atol=1e-9)
        assert_array_equal(e.top_k(test, 4, target=target)[1], np.argsort(-T, axis=1)[:, :4])
    mean = np.mean([model.predict_proba(test) for model in models], axis=0)
    assert_allclose(e.predict_proba(test), mean, rtol=1e-12)
    assert_array_equal(e.predict(test), LABELS[K][mean.argmax(axis=1)])
    assert_array_equal(e.attribute(test), e.attribute(test, e.predict(test)))
    assert_allclose(e.self_influence_, expected.self_influence_, rtol=1e-9)
    assert_allclose(e.self_influence_, np.diag(e.attribute(X, y)), rtol=1e-9)
    assert_allclose(e.penalty_, expected.penalty_)
    assert_allclose(e.effective_dimension_, expected.effective_dimension_)


@n_classes
def test_networks_of_different_sizes_are_averaged(K):
    X, y, test = problem(K)
    frozen = [FrozenEstimator(model) for model in networks(K, ((5,), (3, 2), ()))]
    T = MLPExplainer(frozen).fit(X, y).attribute(test, LABELS[K][1])
    each = [MLPExplainer(one).fit(X, y).attribute(test, LABELS[K][1]) for one in frozen]
    assert_allclose(T, np.mean(each, axis=0), rtol=1e-9, atol=1e-12)


@n_classes
@pytest.mark.parametrize("output", ["log_odds", "logit", "margin", "probability", "loss"])
def test_outputs(K, output):
    """Training rows stay what they are; the gradient of the test row is the output's."""
    X, y, test = problem(K)
    (model,) = networks(K, ((5,),))
    e = MLPExplainer(FrozenEstimator(model), output=output, temperature=2.0).fit(X, y)
    p = np.exp(np.log(model.predict_proba(X)) / 2)
    p = (p / p.sum(axis=1, keepdims=True))[np.arange(40), np.searchsorted(LABELS[K], y)]
    plain = TRAKExplainer(temperature=1.0)
    plain.fit(mlp_gradients(model, X, y, temperature=2.0), y, probabilities=p)
    rows = mlp_gradients(model, test, LABELS[K][1], output=output, temperature=2.0)
    expected = plain.attribute(rows)
    assert_allclose(e.attribute(test, LABELS[K][1]), expected, rtol=1e-8, atol=1e-12)


def test_what_a_row_does_is_what_refitting_shows():
    """A first step from the minimum without the row: sign and size, for a network of one layer."""
    X, y, test = problem(2)
    alpha = 4.0  # over n rows: the penalty of scikit-learn's loss
    model = MLPClassifier((), solver="lbfgs", alpha=alpha, tol=1e-12, max_iter=5000)
    full = clone(model).fit(X, y)
    e = MLPExplainer(FrozenEstimator(full), temperature=1.0).fit(X, y)
    e.set_params(ridge=2.0 * alpha / e.penalty_[0]).fit(X, y)
    assert_allclose(e.penalty_, alpha)
    T = e.attribute(test, "yes")
    odds = lambda m: np.log(m.predict_proba(test)[:, 1] / m.predict_proba(test)[:, 0])  # noqa: E731
    keep = lambda i: np.arange(40) != i  # noqa: E731
    # alpha is divided by the number of rows
    effects = np.column_stack(
        [odds(full) - odds(clone(model).fit(X[keep(i)], y[keep(i)])) for i in range(40)]
    )
    assert np.corrcoef(T.ravel(), effects.ravel())[0, 1] > 0.98
    slope = (T.ravel() @ effects.ravel()) / (T.ravel() @ T.ravel())
    assert 0.9 < slope < 1.25


@n_classes
def test_sketched(K):
    X, y, test = problem(K)
    models = networks(K)
    frozen = [FrozenEstimator(model) for model in models]
    with pytest.warns(UserWarning, match=r"of 16 columns.*Give a larger k") as caught:
        e = MLPExplainer(frozen, k=16, ridge=0.01, random_state=3).fit(X, y)
    assert caught[0].filename == __file__
    assert e._fit_G.shape == (40, 32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = MLPExplainer(frozen, k=10_000).fit(X, y)
    assert_array_equal(whole.attribute(test), MLPExplainer(frozen).fit(X, y).attribute(test))
    # the first network's projection is that of `mlp_gradients`, others have their own
    expected = mlp_gradients(models[0], X, y, k=16, temperature=2.0, random_state=3)
    assert_allclose(e._fit_G[:, :16], expected, rtol=1e-12)
    other = mlp_gradients(models[1], X, y, k=16, temperature=2.0, random_state=3)
    assert np.abs(e._fit_G[:, 16:] - other).max() > 0.1


@n_classes
def test_networks_that_are_not_frozen_are_fitted_here(K):
    X, y, test = problem(K)
    given = [clone(NETWORK).set_params(random_state=seed) for seed in (0, 1)]
    e = MLPExplainer(given).fit(X, y)
    assert not any(hasattr(one, "coefs_") for one in given)
    expected = MLPExplainer([FrozenEstimator(model) for model in networks(K)]).fit(X, y)
    assert_array_equal(e.attribute(test), expected.attribute(test))
    frozen = FrozenEstimator(networks(K)[0])
    assert MLPExplainer(frozen).fit(X, y).estimators_[0] is frozen.estimator


def test_gradients_are_held_some_rows_at_a_time(monkeypatch):
    X, y, test = problem(3)
    e = MLPExplainer([FrozenEstimator(model) for model in networks(3)]).fit(X, y)
    expected, seen = e.attribute(test), []
    kernel, gradients = e._kernel(), e._gradients
    assert kernel.height == 256
    kernel.height = 4
    monkeypatch.setattr(kernel, "gradients", lambda *args: seen.append(1) or gradients(*args))
    monkeypatch.setattr(e, "_kernel", lambda: kernel)
    assert_allclose(e.attribute(test), expected, rtol=1e-10)
    assert_array_equal(e.top_k(test, 2)[1], np.argsort(-expected, axis=1)[:, :2])
    assert len(seen) == 4


def test_in_a_pipeline():
    X, y, test = problem(3)
    model = make_pipeline(StandardScaler(), MLPExplainer(NETWORK)).fit(X, y)
    scaler = StandardScaler().fit(X)
    expected = MLPExplainer(NETWORK).fit(scaler.transform(X), y)
    assert_array_equal(model.transform(test), expected.transform(scaler.transform(test)))
    assert model.score(X, y) > 0.6


def test_sparse_rows():
    X, y, test = problem(3)
    X = np.where(np.abs(X) < 0.5, 0.0, X)
    expected = MLPExplainer(NETWORK).fit(X, y).attribute(test)
    frozen = FrozenEstimator(clone(NETWORK).fit(X, y))
    e = MLPExplainer(frozen).fit(sparse.csr_array(X), y)
    assert_allclose(e.attribute(sparse.csr_array(test)), expected, rtol=1e-8, atol=1e-12)


def test_refusals():
    X, y, _ = problem(3)
    (model,) = networks(3, ((5,),))
    for estimator, error, message in [
        (model, ValueError, r"must be given as sklearn.frozen.FrozenEstimator\(mlp\)"),
        ([FrozenEstimator(model), model], ValueError, "FrozenEstimator"),
        ([], ValueError, "empty list"),
        (LogisticRegression(), TypeError, "MLPClassifier.*got LogisticRegression"),
        (FrozenEstimator(LogisticRegression().fit(X, y)), TypeError, "got LogisticRegression"),
        (FrozenEstimator(MLPClassifier()), NotFittedError, "not fitted"),
        (FrozenEstimator(clone(model).fit(X, y == 4)), ValueError, "is not one of the classes"),
        (FrozenEstimator(clone(model).fit(X[:, :3], y)), ValueError, "X has 4 features.*of 3"),
        (
            [FrozenEstimator(model), FrozenEstimator(clone(model).fit(X, np.where(y == 4, 5, y)))],
            ValueError,
            r"different classes: \[-1, 4, 7\] and \[-1, 5, 7\]",
        ),
    ]:
        with pytest.raises(error, match=message):
            MLPExplainer(estimator).fit(X, y)
    e = MLPExplainer(FrozenEstimator(model)).fit(X, y)
    with pytest.raises(ValueError, match="no logits: target must be one label"):
        e.attribute(X, np.ones((40, 3)))
