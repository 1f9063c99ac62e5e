"""Heads that are no minimum on the rows, and heads that are not the model's: who is told so."""

import re
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import reference_softmax as reference
from numpy.testing import assert_allclose
from reference import with_constant
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.preprocessing import OneHotEncoder, scale

from skattrib import InfluenceExplainer, LinearHead, RepresenterExplainer

NO_MINIMUM = r"(?i)the head is no minimum .*Give fit the rows and sample_weight of the head"


@contextmanager
def silence():
    """No warning at all."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture(scope="module")
def data():
    X, y = load_breast_cancer(return_X_y=True)
    return scale(X), y


def exact(X, y, weight=None, **options):
    model = LogisticRegression(solver="newton-cg", tol=1e-10, max_iter=1000, **options)
    return model.fit(X, y, weight)


@pytest.mark.parametrize("inverse", ("cholesky", "cg", "kfac", "identity"))
def test_a_head_of_these_rows_is_silent(data, inverse):
    """By scikit-learn's default tolerance, too, where H is solved."""
    X, y = data
    weight = np.random.default_rng(0).integers(0, 3, size=len(y)).astype(float)
    solved = inverse in ("cholesky", "cg")
    model = LogisticRegression() if solved else exact(X, y, weight)
    with silence():
        head = FrozenEstimator(model.fit(X, y, weight))
        e = InfluenceExplainer(head, inverse=inverse).fit(X, y, weight)
    assert e.leverage_correction_ == solved
    if solved:
        assert e.gradient_norm_ > 5e-4 and e.newton_step_ < 2e-3
    else:
        assert np.isnan(e.newton_step_)


@pytest.mark.parametrize("inverse", ("cholesky", "cg", "kfac", "identity"))
def test_a_head_of_other_rows_is_told(data, inverse):
    X, y = data
    head = FrozenEstimator(exact(X[::2], y[::2]))
    with pytest.warns(UserWarning, match=NO_MINIMUM) as found:
        e = InfluenceExplainer(head, inverse=inverse).fit(X, y)
    assert f"gradient norm {e.gradient_norm_:.1e}" in str(found[0].message)
    assert e.gradient_norm_ > 0.1 and not e.leverage_correction_
    # where the call stands
    assert found[0].filename == __file__


def test_other_weights_and_fits_that_stopped_early_are_told(data):
    X, y = data
    with pytest.warns(UserWarning, match=NO_MINIMUM):
        InfluenceExplainer(FrozenEstimator(exact(X, y))).fit(X, y, 1.0 + y)
    # by its own tolerance it had not
    X, y = load_wine(return_X_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = LogisticRegression(max_iter=1000).fit(X, y)
    with pytest.warns(UserWarning, match=NO_MINIMUM) as found:
        e = InfluenceExplainer(FrozenEstimator(model)).fit(X, y)
    assert e.gradient_norm_ < 2e-3 < 0.1 < e.newton_step_
    assert re.search(r"moves its logits by \d\d\.\d%", str(found[0].message))


def test_a_network_s_head_is_told_only_where_it_is_said_to_be_a_minimum(data):
    X, y = data
    model = exact(X, y, C=0.5)
    head = LinearHead(3 * model.coef_, model.intercept_)
    with silence():
        e = InfluenceExplainer(head).fit(X, y)
        assert e.newton_step_ > 0.02 and not e.leverage_correction_
        InfluenceExplainer(C=1.0).fit(X, y)
    with pytest.warns(UserWarning, match=NO_MINIMUM):
        InfluenceExplainer(head, C=0.5).fit(X, y)


@pytest.mark.parametrize("K", (2, 3))
def test_the_newton_step_is_that_of_the_oracle(K):
    rng = np.random.default_rng(K)
    X, y = rng.normal(size=(50, 4)), rng.integers(K, size=50)
    W, b = rng.normal(size=(1 if K == 2 else K, 4)), rng.normal(size=1 if K == 2 else K)
    e = InfluenceExplainer(LinearHead(W, b), C=0.7)
    with pytest.warns(UserWarning, match=NO_MINIMUM):
        e.fit(X, y)
    theta = np.column_stack([W, b])
    theta = np.concatenate([-theta, theta]) / 2 if K == 2 else theta - theta.mean(axis=0)
    phi, q, s = with_constant(X, True), np.eye(K)[y], np.ones(50)
    penalty = np.full(5, (2 if K == 2 else 1) / 0.7)
    G = reference.inverse(reference.hessian(theta, phi, s, penalty), K)
    step = (G @ reference.gradient(theta, phi, q, s, penalty).ravel()).reshape(theta.shape)
    expected = np.linalg.norm(phi @ step.T) / np.linalg.norm(phi @ theta.T)
    assert_allclose(e.newton_step_, expected, rtol=1e-8)


def test_a_head_that_is_another_classifier_than_the_model_is_told(data):
    X, y = data
    forest = RandomForestClassifier(20, max_depth=4, random_state=0).fit(X, y)
    message = r"(?i)logits correlate with those of the estimator by only 0\.\d\d .*Raise C, or"
    with pytest.warns(UserWarning, match=message) as found:
        e = RepresenterExplainer(FrozenEstimator(GaussianNB().fit(X, y)), C=1e-4).fit(X, y)
    assert e.logit_correlation_ < 0.9 and found[0].filename == __file__
    # the remedies: C, and features of the model
    leaves = OneHotEncoder().fit_transform(forest.apply(X))

    class OfLeaves(type(forest)):
        """The same forest, asked for the probabilities of rows given as their leaves."""

        def predict_proba(self, rows):
            return forest.predict_proba(X)

    model = OfLeaves(20, max_depth=4, random_state=0)
    model.__dict__.update(forest.__dict__)
    with silence():
        e = RepresenterExplainer(FrozenEstimator(model), C=10.0).fit(leaves, y)
    assert e.logit_correlation_ > 0.95
