"""Representer points (Yeh et al. 2018) against scikit-learn, loops and an oracle's minimum."""

import warnings
from functools import cache

import numpy as np
import pytest
import reference_softmax as reference
from numpy.testing import assert_allclose, assert_array_equal
from reference import attributions, with_constant
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import scale
from sklearn.svm import LinearSVC

from skattrib import LinearHead, RepresenterExplainer
from skattrib._softmax.loss import SoftmaxLoss

LABELS = {2: np.array(["no", "yes"]), 3: np.array([7, -1, 4])}
LAYOUTS = {
    "dense": np.ascontiguousarray,
    "csr": sparse.csr_array,
    "dense32": lambda X: X.astype(np.float32),
    "csr32": lambda X: sparse.csr_array(X.astype(np.float32)),
}


@cache
def problem(K, n=80, d=5, m=9):
    """Rows (of float32 values), labels, weights (some zero), test rows."""
    rng = np.random.default_rng(K)
    codes = rng.permutation(n) % K
    X = rng.normal(size=(n, d)) + rng.normal(size=(K, d))[codes]
    test = rng.normal(size=(m, d))
    X, test = (A.astype(np.float32).astype(np.float64) for A in (X, test))
    return X, LABELS[K][codes], rng.integers(0, 4, size=n) / 2.0, test


def one_hot(e, y):
    return (y[:, None] == e.classes_).astype(float)


def theta_of(e, fit_intercept):
    """Weights of the K logits from the public attributes."""
    theta = np.column_stack([e.coef_, e.intercept_]) if fit_intercept else e.coef_
    return np.concatenate([-theta / 2, theta / 2]) if len(theta) == 1 else theta


def dual_of(e):
    """alpha_i of the K logits, (n, K), from the public attributes; rows outside the support 0."""
    dual = e.dual_coef_
    dual = np.concatenate([-dual / 2, dual / 2]) if len(dual) == 1 else dual
    out = np.zeros((e.n_samples_fit_, len(e.classes_)))
    out[e.support_] = dual.T
    return out


def scaled(alpha):
    """Of the K logits: for two classes alpha is the coefficient of f, half of it each logit's."""
    return alpha / 2 if alpha.shape[1] == 2 else alpha


@pytest.mark.parametrize("K", (2, 3))
@pytest.mark.parametrize("C", (1e-3, 1.0, 100.0))
@pytest.mark.parametrize("weighted", (False, True))
@pytest.mark.parametrize("class_weight", (None, "balanced"))
def test_the_head_is_that_of_logistic_regression(K, C, weighted, class_weight):
    """Eq. 3 in scikit-learn's C, and with a bias that is a regularized constant feature."""
    X, y, weight, _ = problem(K)
    weight = weight if weighted else None
    options = {"C": C, "class_weight": class_weight}
    for fit_intercept in (False, True):
        phi = with_constant(X, fit_intercept)
        known = LogisticRegression(
            fit_intercept=False, solver="newton-cg", tol=1e-12, max_iter=10000, **options
        ).fit(phi, y, weight)
        e = RepresenterExplainer(fit_intercept=fit_intercept, tol=1e-12, **options)
        e.fit(X, y, weight)
        assert_array_equal(e.classes_, known.classes_)
        found = np.column_stack([e.coef_, e.intercept_])[:, : phi.shape[1]]
        assert_allclose(found, known.coef_, atol=1e-8 * np.abs(known.coef_).max())
        assert_allclose(e.decision_function(X), known.decision_function(phi), atol=1e-7)
        assert_allclose(e.predict_proba(X), known.predict_proba(phi), atol=1e-8)


@pytest.mark.parametrize("K", (2, 3))
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("fit_intercept", (True, False))
def test_attributions_are_the_terms_of_the_head(K, layout, fit_intercept):
    """alpha = C s (q - p), T = (v . alpha_i) phi_i . phi_j; rows of T sum to decision values."""
    X, y, weight, test = problem(K)
    C = 0.3
    e = RepresenterExplainer(C=C, fit_intercept=fit_intercept, tol=1e-10)
    e.fit(LAYOUTS[layout](X), y, weight)
    phi, phi_test = with_constant(X, fit_intercept), with_constant(test, fit_intercept)
    q = one_hot(e, y)
    theta = reference.minimum(phi, q, weight, np.full(phi.shape[1], (2 if K == 2 else 1) / C))
    assert_allclose(theta_of(e, fit_intercept), theta, atol=1e-9)
    alpha = scaled(reference.representer_alpha(theta, phi, q, weight, C))
    assert_allclose(dual_of(e), alpha, atol=1e-9)
    assert_array_equal(e.support_, np.flatnonzero(weight))
    labels = e.classes_[np.arange(len(test)) % K]
    V = 2 * one_hot(e, labels) - 1 if K == 2 else one_hot(e, labels)
    expected = attributions(alpha, X, test, V)
    atol = 1e-5 if layout.endswith("32") else 1e-8
    T = e.attribute(LAYOUTS[layout](test), labels)
    assert_allclose(T, expected, atol=atol * np.abs(expected).max())
    assert_array_equal(T[:, weight == 0], 0)
    outputs = np.sum(V * (phi_test @ theta.T), axis=1)
    sums = T.sum(axis=1) + e.base_value(LAYOUTS[layout](test), labels)
    assert_allclose(sums, outputs, atol=atol * np.abs(T).sum(axis=1).max())
    # global score and self-influence: of the row's own label
    own = alpha[q == 1] * (2 if K == 2 else 1)
    assert_allclose(e.global_importance_, own, atol=1e-9)
    assert (e.global_importance_ >= 0).all()
    assert_allclose(e.self_influence_, own * np.sum(X**2, axis=1), atol=1e-7)
    diagonal = np.diag(e.attribute(LAYOUTS[layout](X), y))
    assert_allclose(e.self_influence_, diagonal, atol=100 * atol)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("model", (None, "forest"))
def test_equal_rows_have_equal_coefficients(layout, model):
    """To the last bit, wherever they stand; in proportion where their weights differ."""
    X, y = load_digits(return_X_y=True)
    X, y = X[:400, 8:40] / 16, y[:400]
    rng = np.random.default_rng(0)
    rows = rng.permutation(np.r_[np.arange(400), rng.integers(400, size=901)])
    first = np.array([np.flatnonzero(rows == row)[0] for row in range(400)])[rows]
    if model:
        model = FrozenEstimator(RandomForestClassifier(5, random_state=0).fit(X, y))
    for weight in (None, rng.integers(1, 4, size=1301) / 2.0):
        e = RepresenterExplainer(model, C=10.0).fit(LAYOUTS[layout](X[rows]), y[rows], weight)
        each = dual_of(e) if weight is None else dual_of(e) / weight[:, None]
        assert_allclose(each, each[first], rtol=0 if weight is None else 1e-15)
        assert e.completeness_error_ <= 1e-6


def test_the_completeness_error_is_that_of_the_coefficients(monkeypatch):
    """Equal rows get the coefficients of the first: the error is measured after that."""
    X, y, *_ = problem(3)
    X, y = np.tile(X, (2, 1)), np.tile(y, 2)
    at = SoftmaxLoss.at

    def noisy(self, z):
        out = at(self, z)
        noise = np.random.default_rng(0).uniform(0.0, 1e-5, size=self.probabilities.shape)
        self.probabilities = self.probabilities * (1 + noise)
        return out

    monkeypatch.setattr(SoftmaxLoss, "at", noisy)
    e = RepresenterExplainer(C=10.0, tol=1e-4).fit(X, y)
    assert_array_equal(dual_of(e)[:80], dual_of(e)[80:])
    error = reference.completeness_error(theta_of(e, True), with_constant(X, True), dual_of(e))
    assert e.completeness_error_ == pytest.approx(error, rel=1e-6) and error > 1e-6


@cache
def dataset(name):
    load = {"digits": load_digits, "wine": load_wine, "cancer": load_breast_cancer}
    X, y = load[name.removeprefix("raw ")](return_X_y=True)
    rows = np.random.default_rng(0).permutation(len(X))[:170]
    return (X if name.startswith("raw") else scale(X))[rows], y[rows]


@pytest.mark.parametrize("C", (1e-6, 1e-2, 1.0, 1e2, 1e4))
@pytest.mark.parametrize(
    "name", ("digits", "wine", "cancer", "raw digits", "raw wine", "raw cancer")
)
def test_completeness(name, C):
    """The head is solved to 1e-6, on raw features of sizes 1e-3 to 1e3 too, and reports it."""
    X, y = dataset(name)
    e = RepresenterExplainer(C=C).fit(X, y)
    assert e.completeness_error_ <= 1e-6
    phi, theta = with_constant(X, True), theta_of(e, True)
    q, s = one_hot(e, y), np.ones(len(X))
    alpha = scaled(reference.representer_alpha(theta, phi, q, s, C))
    found = reference.completeness_error(theta, phi, alpha)
    # what rounding of the sums, and of the logits that p is made of, can change
    p = np.array([reference.softmax(theta @ x) for x in phi])
    sizes = 20 * np.abs(alpha) + C * p * (1 - p) * (np.abs(phi) @ np.abs(theta).T)
    rounding = np.finfo(float).eps * (np.abs(phi) @ (np.abs(phi).T @ sizes)).max()
    rounding /= np.sqrt(np.mean((phi @ theta.T) ** 2))
    assert found == pytest.approx(e.completeness_error_, rel=1e-3, abs=rounding)
    target = np.eye(len(theta))[y]
    sums = e.attribute(X, target).sum(axis=1) + e.base_value(X, target)
    error = np.abs(sums - (phi @ theta.T)[q == 1]).max()
    assert error <= (1e-6 + rounding) * np.sqrt(np.mean((phi @ theta.T) ** 2))


def test_the_completeness_error_is_that_of_the_duals():
    """Also where rounding of logits, times C, is all that is left of it."""
    X, y = dataset("raw cancer")
    for C in (1e2, 1e4):
        e = RepresenterExplainer(C=C).fit(X, y)
        f = e.decision_function(X)
        sums = e.attribute(X, 1).sum(axis=1) + e.base_value(X, 1)
        error = np.abs(sums - f).max() / np.sqrt(np.mean(f**2))
        assert error <= 2 * e.completeness_error_


@pytest.mark.parametrize("K", (2, 3))
def test_a_head_that_is_not_solved_says_so(K):
    X, y, _, _ = problem(K)
    with pytest.warns(ConvergenceWarning, match="relative completeness error of"):
        e = RepresenterExplainer(C=100.0, max_iter=1).fit(X, y)
    assert e.n_iter_ == 1 and e.completeness_error_ > 1e-6
    theta, phi = theta_of(e, True), with_constant(X, True)
    alpha = scaled(reference.representer_alpha(theta, phi, one_hot(e, y), np.ones(len(X)), 100.0))
    assert_allclose(e.completeness_error_, reference.completeness_error(theta, phi, alpha), 1e-8)
    assert_allclose(dual_of(e), alpha, rtol=1e-10, atol=1e-12)


# eq. 4: the head of a given model


@pytest.mark.parametrize("K", (2, 3))
def test_a_model_is_distilled(K):
    """The minimum for q = predict_proba; labels only say whose contribution is a row's own."""
    X, y, weight, test = problem(K)
    forest = RandomForestClassifier(20, max_depth=4, random_state=0).fit(X, y)
    e = RepresenterExplainer(FrozenEstimator(forest), C=0.3, tol=1e-10)
    e.fit(X, y, weight)
    q, phi = forest.predict_proba(X), with_constant(X, True)
    theta = reference.minimum(phi, q, weight, np.full(6, (2 if K == 2 else 1) / 0.3))
    assert_allclose(theta_of(e, True), theta, atol=1e-9)
    alpha = scaled(reference.representer_alpha(theta, phi, q, weight, 0.3))
    assert_allclose(dual_of(e), alpha, atol=1e-9)
    assert_allclose(
        e.global_importance_, alpha[one_hot(e, y) == 1] * (2 if K == 2 else 1), atol=1e-9
    )
    V = np.eye(K)[np.arange(len(test)) % K]
    outputs = np.sum(V * (with_constant(test, True) @ theta.T), axis=1)
    sums = e.attribute(test, V).sum(axis=1) + e.base_value(test, V)
    assert_allclose(sums, outputs, atol=1e-8)
    other = RepresenterExplainer(FrozenEstimator(forest), C=0.3, tol=1e-10)
    other.fit(X, np.roll(y, 1), weight)
    assert_allclose(other.coef_, e.coef_, atol=1e-12)
    # correlation of centred logits
    a, b = np.log(np.maximum(q, 1e-12)), phi @ theta.T
    a, b = (z - z.mean(axis=1, keepdims=True) for z in (a, b))
    assert_allclose(e.logit_correlation_, np.corrcoef(a.ravel(), b.ravel())[0, 1], atol=1e-8)


@pytest.mark.parametrize("K", (2, 3))
def test_a_linear_teacher_is_reproduced(K):
    """Paper's fig. 1: correlation above 0.99."""
    X, y, _, _ = problem(K)
    teacher = LogisticRegression(C=0.1).fit(X, y)
    e = RepresenterExplainer(FrozenEstimator(teacher), C=100.0).fit(X, y)
    assert 0.99 < e.logit_correlation_ <= 1.0 + 1e-12
    weak = RepresenterExplainer(FrozenEstimator(teacher), C=1e-4).fit(X, y)
    assert weak.logit_correlation_ < e.logit_correlation_
    assert_array_equal(e.predict(X), teacher.predict(X))
    # a linear head given bare is the same teacher
    head = LinearHead(teacher.coef_, teacher.intercept_, teacher.classes_)
    bare = RepresenterExplainer(head, C=100.0).fit(X, y)
    assert_allclose(bare.coef_, e.coef_, atol=1e-8)
    # fitted to labels again, there is no teacher to compare with
    e.set_params(estimator=None).fit(X, y)
    assert not hasattr(e, "logit_correlation_")


@pytest.mark.parametrize("value", [0.0, 1.0, 1 / 3])
def test_a_model_without_preferences_correlates_with_nothing(value):
    X = np.random.default_rng(0).normal(size=(20, 4))
    head = LinearHead(np.full((3, 4), value))
    e = RepresenterExplainer(FrozenEstimator(head)).fit(X, np.arange(20) % 3)
    assert e.logit_correlation_ == 0


class Teacher(ClassifierMixin, BaseEstimator):
    """Probabilities of a head, in any order of classes."""

    def __init__(self, classes=None, wrong=None):
        self.classes, self.wrong = classes, wrong

    def fit(self, X, y):
        self.known_ = LogisticRegression().fit(X, y)
        self.classes_ = np.asarray(self.classes)
        return self

    def predict_proba(self, X):
        p = self.known_.predict_proba(X)[:, np.searchsorted(self.known_.classes_, self.classes_)]
        return {"shape": p[:, :1], "negative": -p, "nan": p * np.nan}.get(self.wrong, p)


def test_classes_of_a_teacher_come_in_any_order():
    X, y, _, _ = problem(3)
    duals = []
    for classes in ([-1, 4, 7], [7, -1, 4]):
        e = RepresenterExplainer(FrozenEstimator(Teacher(classes).fit(X, y))).fit(X, y)
        assert_array_equal(e.classes_, [-1, 4, 7])
        duals.append(e.dual_coef_)
    assert_allclose(*duals, atol=1e-13)


def test_a_teacher_may_know_classes_that_the_rows_lack():
    X, y, _, _ = problem(3)
    forest = RandomForestClassifier(20, random_state=0).fit(X, y)
    few = y != 4
    e = RepresenterExplainer(FrozenEstimator(forest)).fit(X[few], y[few])
    assert_array_equal(e.classes_, [-1, 4, 7])
    assert e.dual_coef_.shape == (3, few.sum())


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (RandomForestClassifier(), "sklearn.frozen.FrozenEstimator.*got RandomForestClassifier"),
        (FrozenEstimator(LinearSVC()), "fit.*predict_proba"),
        (FrozenEstimator(Teacher([-1, 4, 7], "shape")), "has shape .80, 1., but it has 3 classes"),
        (FrozenEstimator(Teacher([-1, 4, 7], "negative")), "of Teacher is not a probability"),
        (FrozenEstimator(Teacher([-1, 4, 7], "nan")), "of Teacher is not a probability"),
        (FrozenEstimator(Teacher([-1, 4])), "label of y 7 is not one of the classes"),
    ],
)
def test_what_cannot_be_distilled_is_refused(estimator, message):
    X, y, _, _ = problem(3)
    getattr(estimator, "estimator", estimator).fit(X, y)
    with pytest.raises(ValueError, match=message):
        RepresenterExplainer(estimator).fit(X, y)


def test_C_may_be_of_any_float_type():
    X, y, _, X_test = problem(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        single = RepresenterExplainer(C=np.float32(2.0)).fit(X, y).attribute(X_test)
    assert_array_equal(single, RepresenterExplainer(C=2.0).fit(X, y).attribute(X_test))
