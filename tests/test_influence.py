"""InfluenceExplainer against the full Hessian's pseudo-inverse and against real refits.

Sources: Koh and Liang 2017; Pregibon 1981 (the one-step correction). Sign: T[j, i] is the output
with row i minus the output without it. Refits are scikit-learn's, at tol=1e-10, without random
rows; those of largest self-influence have bounds of their own.
"""

from copy import deepcopy
from functools import cache

import numpy as np
import pytest
import reference_softmax as reference
from numpy.testing import assert_allclose, assert_array_equal
from reference import with_constant
from scipy import sparse
from scipy.special import logsumexp
from sklearn import config_context, get_config
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, SGDClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

from skattrib import InfluenceExplainer, LinearHead
from skattrib._softmax import hessian, newton, removals

LABELS = {2: np.array(["no", "yes"]), 3: np.array(["b", "a", "c"])}


@cache
def problem(K, n=60, d=4, m=5):
    """Rows that no head separates, labels, weights (some zero), test rows."""
    rng = np.random.default_rng(K)
    # classes of unequal size
    codes = np.minimum(rng.permutation(n) % (K + 1), K - 1)
    X = rng.normal(size=(n, d)) * np.linspace(0.5, 2.0, d) + 0.5 * rng.normal(size=(K, d))[codes]
    return X, LABELS[K][codes], rng.integers(0, 4, size=n) / 2.0, rng.normal(size=(m, d))


def regression(**options):
    return LogisticRegression(solver="newton-cg", tol=1e-12, max_iter=10_000).set_params(**options)


def unpenalized(**options):
    """No penalty, in the words of the installed scikit-learn."""
    return regression(C=np.inf, **options)


FROZEN = {
    "l2": regression(C=0.5),
    "l2 without intercept": regression(C=0.5, fit_intercept=False),
    "no penalty": unpenalized(),
    "no penalty or intercept": unpenalized(fit_intercept=False),
    "balanced": regression(C=0.5, class_weight="balanced"),
    "lbfgs": regression(C=0.5, solver="lbfgs", tol=1e-10),
}
HEADS = (*FROZEN, "class weights", "fitted", "fitted, balanced", "fitted without intercept")
HEADS += ("weak", "linear", "bare")
HEADS_2 = (*HEADS, "liblinear")


class Case:
    """A head and its explainer's options, with all that the oracle needs to know about it."""

    def __init__(self, name, K, weighted=False, damping=0.0):
        self.X, self.y, weight, self.test = problem(K)
        self.weight = weight if weighted else None
        s = np.ones(len(self.X)) if weight is None or not weighted else weight
        factor = 2.0 if K == 2 else 1.0
        d, fit_intercept, free = self.X.shape[1], True, False
        self.options, C, model, self.constant = {}, 0.5, None, 1.0
        half = dict(zip(LABELS[K].tolist(), (0.5, 2.0, 1.5), strict=False))
        if name in FROZEN:
            model = deepcopy(FROZEN[name])
            fit_intercept = free = model.fit_intercept
            C = model.C
        elif name == "class weights":
            model, free = regression(C=0.5, class_weight=half), True
        elif name == "liblinear":
            model = regression(C=0.5, solver="liblinear", intercept_scaling=2.0, random_state=0)
            # a constant feature 2, penalized like the others
            self.constant = 2.0
        elif name.startswith("fitted"):
            fit_intercept = name != "fitted without intercept"
            class_weight = {"fitted": None, "fitted, balanced": "balanced"}.get(name, half)
            self.options = {"C": 0.5, "fit_intercept": fit_intercept, "class_weight": class_weight}
        elif name == "weak":
            self.options, C = {"C": 100.0, "tol": 1e-12}, 100.0
        else:
            # no minimum of anything
            rng = np.random.default_rng(5)
            fit_intercept = name == "linear"
            rows = 1 if K == 2 else K
            intercept = rng.normal(size=rows) if fit_intercept else None
            head = LinearHead(rng.normal(size=(rows, d)), intercept, np.unique(self.y))
            self.options = {"estimator": head, "C": 0.5}
        class_weight = getattr(model, "class_weight", self.options.get("class_weight"))
        if class_weight == "balanced":
            # by sums of weights, as in scikit-learn
            class_weight = {c: s.sum() / (K * s[self.y == c].sum()) for c in LABELS[K]}
        factors = [class_weight[c] if class_weight else 1.0 for c in self.y]
        if model is not None:
            model.fit(self.X, self.y, self.weight)
            self.options = {"estimator": FrozenEstimator(model)}
        self.model = model
        self.s = s * np.array(factors)
        self.penalty = np.full(d + fit_intercept, factor / C)
        self.fit_intercept = fit_intercept
        if free:
            self.penalty[d] = 0.0
        self.phi, self.phi_test = (self.rows(A) for A in (self.X, self.test))
        self.q = (self.y[:, None] == np.unique(self.y)).astype(float)
        self.damping = damping
        known = model or self.options.get("estimator")
        if known is None:
            self.theta = reference.minimum(self.phi, self.q, self.s, self.penalty)
        else:
            theta = known.coef_
            if fit_intercept:
                theta = np.column_stack([theta, known.intercept_ / self.constant])
            self.theta = np.concatenate([-theta / 2, theta / 2]) if len(theta) == 1 else theta
        H = reference.hessian(self.theta, self.phi, self.s, self.penalty, damping)
        self.G = reference.inverse(H, K)
        self.V = np.random.default_rng(1).normal(size=(len(self.test), K))

    def rows(self, X):
        phi = with_constant(X, self.fit_intercept)
        if self.fit_intercept:
            phi[:, -1] = self.constant
        return phi

    def explainer(self, **options):
        options = {"damping": self.damping} | self.options | options
        return InfluenceExplainer(**options).fit(self.X, self.y, self.weight)

    def residuals(self, corrected):
        if corrected:
            return reference.corrected(self.theta, self.phi, self.q, self.s, self.G)
        return reference.residuals(self.theta, self.phi, self.q, self.s)


def close(found, expected, tolerance=1e-8):
    """Relative to the largest entry."""
    assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


CASES = [(name, K) for K in (2, 3) for name in (HEADS_2 if K == 2 else HEADS)]
# each two together; "liblinear" has one K, and both
WEIGHTED = [(name, K, bool((HEADS_2.index(name) + K) % 2)) for name, K in CASES]
WEIGHTED.append(("liblinear", 2, not WEIGHTED[len(HEADS)][2]))


@pytest.mark.parametrize(("name", "K", "weighted"), WEIGHTED)
def test_attributions_are_those_of_the_full_hessian(name, K, weighted):
    """(v (x) phi_j)^T H^-1 (r (x) phi_i), with r as it is and corrected for leverage."""
    case = Case(name, K, weighted)
    for corrected in (False, True):
        e = case.explainer(leverage_correction=corrected)
        assert (e.inverse_, e.leverage_correction_) == ("cholesky", corrected)
        r = case.residuals(corrected)
        T = reference.influence(case.phi, case.phi_test, r, case.G, case.V)
        close(e.attribute(case.test, case.V), T)
        weights = np.linspace(-1, 1, len(case.test))
        close(e.aggregate(case.test, case.V, weights=weights), weights @ T)
        # leverage is for logits that sum to zero
        P = np.eye(K) - 1 / K
        M = P @ reference.leverage(case.theta, case.phi, case.G) @ P
        close(e.leverage_, M)
        change = case.q - np.array([reference.softmax(case.theta @ x) for x in case.phi])
        own = reference.self_influence(case.phi, r, case.G, change)
        close(e.self_influence_, own)
        close(np.diag(e.attribute(case.X, change)), e.self_influence_)
        # a row raises its own probability
        assert (e.self_influence_ >= 0).all()
        assert (e.self_influence_[case.s > 0] > 0).all()
        assert_array_equal(e.attribute(case.test, case.V)[:, case.s == 0], 0)
        # a minimum but for the bare heads, which say so
        theta = case.theta - case.theta.mean(axis=0)
        g = reference.gradient(theta, case.phi, case.q, case.s, case.penalty)
        r = case.residuals(False)
        terms = sum(np.linalg.norm(np.outer(a, x)) for a, x in zip(r, case.phi, strict=True))
        assert_allclose(e.gradient_norm_, np.linalg.norm(g) / terms, rtol=1e-6, atol=1e-9)
        assert (e.gradient_norm_ > 1e-2) if name in ("linear", "bare") else e.gradient_norm_ < 1e-7
    labels = e.classes_[np.arange(len(case.test)) % K]
    of_labels = (labels[:, None] == e.classes_) * (2.0 if K == 2 else 1.0) - (K == 2)
    close(e.attribute(case.test, labels), e.attribute(case.test, of_labels), 1e-12)


@pytest.mark.parametrize("K", (2, 3))
@pytest.mark.parametrize("name", ("fitted", "l2", "linear"))
def test_damping_is_added_to_the_hessian(name, K):
    case = Case(name, K, damping=0.3)
    for corrected in (False, True):
        e = case.explainer(leverage_correction=corrected)
        r = case.residuals(corrected)
        T = reference.influence(case.phi, case.phi_test, r, case.G, case.V)
        close(e.attribute(case.test, case.V), T)


@pytest.mark.parametrize("K", (2, 3))
@pytest.mark.parametrize("name", ("fitted", "fitted without intercept", "l2"))
@pytest.mark.parametrize("layout", ("csr", "float32"))
def test_layouts_have_the_same_attributions(name, K, layout):
    case = Case(name, K, weighted=True)
    e, X, test = case.explainer(), case.X, case.test
    if layout == "csr":
        X, test = sparse.csr_array(X), sparse.csr_array(test)
    else:
        X, test = X.astype(np.float32), test.astype(np.float32)
    T = InfluenceExplainer(**case.options).fit(X, case.y, case.weight).attribute(test, case.V)
    close(T, e.attribute(case.test, case.V), 1e-5 if layout == "float32" else 1e-10)


@pytest.mark.parametrize("K", (2, 3))
@pytest.mark.parametrize("name", ("fitted", "fitted without intercept"))
@pytest.mark.parametrize("corrected", (False, True))
def test_decompose_splits_over_the_features_of_the_test_row(name, K, corrected):
    case = Case(name, K)
    e = case.explainer(leverage_correction=corrected)
    r = case.residuals(corrected)
    S = reference.shares_of_test_row(case.phi, case.phi_test, r, case.G, case.V)
    indices = np.random.default_rng(0).integers(len(case.X), size=(len(case.test), 5))
    found = e.decompose(case.test, indices, target=case.V)
    expected = S[np.arange(len(S))[:, None], indices]
    close(found, expected[:, :, : case.X.shape[1]])
    whole = np.take_along_axis(e.attribute(case.test, case.V), indices, axis=1)
    close(expected.sum(axis=2), whole)


@pytest.mark.parametrize(("name", "K"), [("l2", 3), ("liblinear", 2), ("fitted", 3)])
def test_cg_agrees_with_cholesky(name, K):
    case = Case(name, K, weighted=True)
    direct = case.explainer()
    e = case.explainer(inverse="cg", inverse_params={"tol": 1e-12})
    assert e.leverage_correction_
    close(e.attribute(case.test, case.V), direct.attribute(case.test, case.V))
    close(e.leverage_, direct.leverage_)


def test_auto_chooses_by_the_order_of_the_hessian(monkeypatch):
    case = Case("fitted", 3)
    exact = case.explainer(leverage_correction=False).attribute(case.test, case.V)
    monkeypatch.setattr(hessian, "LARGEST_ORDER", 9)
    e = case.explainer()
    # n (K - 1) solves are too dear there
    assert (e.inverse_, e.leverage_correction_) == ("cg", False)
    close(e.attribute(case.test, case.V), exact, 1e-6)


@pytest.mark.parametrize("name", ("lissa", "arnoldi", "kfac", "ekfac", "datainf", "identity"))
def test_approximate_inverses_are_not_corrected(name):
    case = Case("fitted", 3)
    e = case.explainer(inverse=name, random_state=0)
    assert (e.inverse_, e.leverage_correction_) == (name, False)
    assert (e.self_influence_ > 0).all()
    if name == "identity":
        with pytest.raises(ValueError, match="training row .* has a leverage of 1 or more"):
            case.explainer(inverse=name, leverage_correction=True)


# heads after a real removal of rows


@pytest.mark.parametrize(("name", "K", "weighted"), WEIGHTED)
def test_refits_and_group_steps_are_those_of_the_oracle(name, K, weighted):
    """leave_one_out: both heads are minima. group_effect: one Newton step, from the head."""
    case = Case(name, K, weighted)
    e = case.explainer(leverage_correction=True)
    one = np.flatnonzero(case.s)[7]
    groups = [np.array([0, 1, 2, 3, 5, 8, 13, 21]), one]
    found = e.leave_one_out(case.test, case.X, case.y, case.weight, rows=groups, target=case.V)
    assert found.shape == (len(case.test), 2) and found.dtype == np.float64
    start = reference.minimum(case.phi, case.q, case.s, case.penalty, case.theta)
    for effect, group in zip(found.T, groups, strict=True):
        keep = np.setdiff1d(np.arange(len(case.X)), group)
        theta = reference.minimum(case.phi[keep], case.q[keep], case.s[keep], case.penalty, start)
        change = case.phi_test @ (start - theta).T
        close(effect, np.sum(case.V * change, axis=1), 1e-6)
    expected = reference.effect_without(
        case.theta, case.phi, case.q, case.s, case.penalty, groups[0], case.phi_test, case.V
    )
    close(e.group_effect(case.test, groups[0], case.V), expected)
    # a group of one row is the leverage correction
    close(e.group_effect(case.test, [one], case.V), e.attribute(case.test, case.V)[:, one])


@pytest.mark.parametrize("inverse", ("cg", "kfac", "identity"))
def test_group_effect_is_the_same_whatever_the_inverse(inverse):
    case = Case("l2", 3)
    group = [1, 2, 30]
    expected = case.explainer().group_effect(case.test, group)
    e = case.explainer(inverse=inverse)
    close(e.group_effect(case.test, group), expected)


def test_group_effect_of_layouts():
    case = Case("fitted", 3)
    e = InfluenceExplainer(**case.options).fit(sparse.csr_array(case.X), case.y)
    group = np.arange(9)
    close(e.group_effect(case.test, group), case.explainer().group_effect(case.test, group))


@pytest.mark.parametrize("direct", (True, False))
def test_refits_in_parallel_and_at_any_size(direct, monkeypatch):
    """Large heads are refitted by conjugate gradients behind the inverse of the full fit."""
    case = Case("l2", 3, weighted=True)
    e = case.explainer()
    data = case.test, case.X, case.y, case.weight
    known = e.leave_one_out(*data, rows=range(6))
    if not direct:
        for module in (removals, newton):
            monkeypatch.setattr(module, "DIRECT", 0)
    one = e.leave_one_out(*data, rows=range(6), n_jobs=1)
    close(one, known, 1e-6)
    close(e.leave_one_out(*data, rows=range(6), n_jobs=2), one, 1e-12)
    if direct:
        assert e.leave_one_out(*data).shape == (len(case.test), len(case.X))


@pytest.mark.parametrize("n_jobs", (1, 2))
def test_refits_see_the_configuration_of_scikit_learn(n_jobs, monkeypatch):
    case = Case("l2", 3)
    e = case.explainer()
    seen, found = [], removals.newton

    def spy(*args, **options):
        seen.append(get_config()["assume_finite"])
        return found(*args, **options)

    monkeypatch.setattr(removals, "newton", spy)
    with config_context(assume_finite=True):
        e.leave_one_out(case.test, case.X, case.y, case.weight, rows=range(6), n_jobs=n_jobs)
    assert seen == [True] * 7


# the removals themselves: scikit-learn's refits


def logits_of(model, X):
    f = model.decision_function(X)
    return np.column_stack([-f / 2, f / 2]) if f.ndim == 1 else f


def output(z, V, output):
    """v.z, or the log-odds of the class that V holds positive."""
    if output == "logit":
        return np.sum(V * z, axis=1)
    at = np.arange(len(z)), V.argmax(axis=1)
    others = z.copy()
    others[at] = -np.inf
    return z[at] - logsumexp(others, axis=1)


class Removals:
    """A head of scikit-learn, its refits without rows, and what its explainers predicted."""

    def __init__(self, X, y, test, C, fit_intercept):
        self.X, self.y, self.test = X, y, test
        self.model = LogisticRegression(
            C=C, fit_intercept=fit_intercept, solver="newton-cg", tol=1e-10, max_iter=1000
        ).set_params(warm_start=True)
        self.model.fit(X, y)
        frozen = FrozenEstimator(self.model)
        self.explainer = InfluenceExplainer(frozen).fit(X, y)
        self.plain = InfluenceExplainer(frozen, leverage_correction=False).fit(X, y)
        self.z = logits_of(self.model, test)

    def without(self, groups):
        """Logits of the refits, from where the full fit ended."""
        out = []
        for group in groups:
            keep = np.delete(np.arange(len(self.X)), group)
            model = deepcopy(self.model).fit(self.X[keep], self.y[keep])
            out.append(logits_of(model, self.test))
        return out

    def effects(self, refits, V, kind="logit"):
        """Output with the rows minus output without them, (m, len(refits))."""
        return np.column_stack([output(self.z, V, kind) - output(z, V, kind) for z in refits])


def fit_line(predicted, actual):
    """(r, slope) of actual effects on predicted ones, pooled."""
    predicted, actual = predicted.ravel(), actual.ravel()
    return np.corrcoef(predicted, actual)[0, 1], np.polyfit(predicted, actual, 1)[0]


@cache
def digits(binary, C, fit_intercept):
    """3 against 8 (280 rows) or all ten (1,200), in [0, 1]."""
    X, y = load_digits(return_X_y=True)
    X = X / 16
    if binary:
        X, y = X[np.isin(y, (3, 8))], y[np.isin(y, (3, 8))]
    n = 280 if binary else 1200
    return Removals(X[:n], y[:n], X[n : n + 50], C, fit_intercept)


@pytest.mark.parametrize(
    ("binary", "C", "fit_intercept"),
    # each two together
    [(True, 0.1, True), (True, 1.0, False), (False, 0.1, False), (False, 1.0, True)],
)
def test_removing_a_row_of_digits(binary, C, fit_intercept):
    """The corrected attributions predict real refits; the uncorrected ones are worse at C = 1.

    Rows are drawn from the nine tenths of smaller self-influence: there every one of 300 draws
    stays in these bounds. One Newton step is not as good for the rest: at C = 1, over all rows, ten
    classes have r = 0.9986 and the two 0.9989, and the tenth of largest self-influence 0.9985.
    """
    case = digits(binary, C, fit_intercept)
    e = case.explainer
    order = np.argsort(e.self_influence_)
    most = len(order) * 9 // 10
    rows = np.random.default_rng(0).choice(order[:most], 30, replace=False)
    hard = order[-6:]
    refits, hard_refits = case.without(rows), case.without(hard)
    for kind in ("logit", "log_odds"):
        V = e.target_weights(case.test, kind)
        T, plain = e.attribute(case.test, V), case.plain.attribute(case.test, V)
        actual, extreme = case.effects(refits, V, kind), case.effects(hard_refits, V, kind)
        r, slope = fit_line(T[:, rows], actual)
        assert r >= 0.999 and 0.98 <= slope <= 1.02
        hard_r, hard_slope = fit_line(T[:, hard], extreme)
        assert hard_r >= 0.995 and 0.96 <= hard_slope <= 1.04
        if C == 1.0:
            plain_r, plain_slope = fit_line(plain[:, rows], actual)
            assert 1 - plain_r > 3 * (1 - r) and plain_slope > 1.04
            assert fit_line(plain[:, hard], extreme)[1] > 1.2
        if kind == "logit":
            removed, both = np.r_[rows[:6], hard], np.column_stack([actual[:, :6], extreme])
            exact = e.leave_one_out(case.test, case.X, case.y, rows=removed, target=V)
            close(exact, both, 1e-5)


def group_predictions(case, groups):
    """(target, actual effects, by group_effect, by sums of corrected and of plain attributions)."""
    e = case.explainer
    V = e.target_weights(case.test)
    step = np.column_stack([e.group_effect(case.test, group, V) for group in groups])
    sums = [
        np.column_stack([T[:, group].sum(axis=1) for group in groups])
        for T in (e.attribute(case.test, V), case.plain.attribute(case.test, V))
    ]
    return V, case.effects(case.without(groups), V), step, *sums


@pytest.mark.parametrize("share", (0.01, 0.05, 0.1))
def test_removing_random_groups_of_digits(share):
    """One Newton step on the Hessian without the group ranks effects better than sums do."""
    case, rng = digits(False, 1.0, True), np.random.default_rng(0)
    n = len(case.X)
    groups = [rng.choice(n, int(share * n), replace=False) for _ in range(12)]
    V, actual, step, sums, plain = group_predictions(case, groups)
    r, slope = fit_line(step, actual)
    assert r >= 0.995 and 0.94 <= slope <= 1.0
    assert r > fit_line(sums, actual)[0]
    assert 1 - fit_line(plain, actual)[0] > 3 * (1 - r)
    found = case.explainer.leave_one_out(case.test, case.X, case.y, rows=groups[:3], target=V)
    close(found, actual[:, :3], 1e-5)


def test_removing_rows_that_stand_in_for_each_other():
    """The twelve rows of a class nearest to one of them: a sum of single effects misses that."""
    case, rng = digits(False, 1.0, True), np.random.default_rng(0)
    groups = []
    for i in rng.choice(len(case.X), 12, replace=False):
        distance = np.where(case.y == case.y[i], np.linalg.norm(case.X - case.X[i], axis=1), np.inf)
        groups.append(np.argsort(distance)[:12])
    _, actual, step, sums, plain = group_predictions(case, groups)
    r, slope = fit_line(step, actual)
    # these groups carry most of a class's edge: 0.985 - 0.999 over draws
    assert r >= 0.98 and 0.95 <= slope <= 1.05
    for other in (sums, plain):
        other_r, other_slope = fit_line(other, actual)
        assert other_r < r and other_slope > 1.3


@pytest.mark.parametrize("load", (load_wine, load_breast_cancer))
@pytest.mark.parametrize("C", (0.1, 1.0, 100.0))
def test_refits_are_exact_where_one_step_is_not(load, C):
    """Standardized rows, high leverage: leave_one_out is right to 1e-5 of the largest effect."""
    X, y = load(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))
    X, y = scale(X)[order], y[order]
    case = Removals(X[30:], y[30:], X[:30], C, True)
    e = case.explainer
    V = e.target_weights(case.test)
    rows = np.r_[np.argsort(-e.self_influence_)[:5], np.arange(15)]
    actual = case.effects(case.without(rows), V)
    close(e.leave_one_out(case.test, case.X, case.y, rows=rows, target=V), actual, 1e-5)


# bare heads


@pytest.mark.parametrize("K", (2, 3))
def test_a_linear_head_sorts_its_classes(K):
    """Labels go with their rows of weights; one row is the logit of the second class given."""
    X, y, _, test = problem(K)
    rng = np.random.default_rng(0)
    W, b = rng.normal(size=(K, X.shape[1])), rng.normal(size=K)
    labels = LABELS[K]
    z = test @ W.T + b
    heads = [LinearHead(W, b, labels), LinearHead(W[::-1], b[::-1], labels[::-1])]
    if K == 2:
        heads += [LinearHead(W[1:] - W[:1], b[1:] - b[:1], labels)]
        heads += [LinearHead(W[:1] - W[1:], b[:1] - b[1:], labels[::-1])]
    T = []
    for head in heads:
        assert_array_equal(head.classes_, np.sort(labels))
        assert_array_equal(head.predict(test), labels[z.argmax(axis=1)])
        p = np.array([reference.softmax(row) for row in z])[:, np.argsort(labels)]
        assert_allclose(head.predict_proba(test), p, atol=1e-14)
        f = z[:, np.argsort(labels)]
        assert_allclose(head.decision_function(test), f if K > 2 else f[:, 1] - f[:, 0])
        T.append(InfluenceExplainer(head).fit(X, y).attribute(test))
    for other in T[1:]:
        close(other, T[0], 1e-12)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (LinearHead(np.ones(3)), "coef must be a finite matrix"),
        (LinearHead([[np.nan, 1.0]]), "coef must be a finite matrix"),
        (LinearHead(np.eye(3), classes=["a", "b"]), "coef has 3 rows: classes must be as many"),
        (LinearHead(np.eye(3), classes=["a", "b", "a"]), "as many distinct labels"),
        (LinearHead(np.eye(3), [0.0, 1.0]), "intercept must be 3 finite numbers"),
    ],
)
def test_a_linear_head_is_checked(head, message):
    with pytest.raises(ValueError, match=message):
        head.predict(np.eye(3))


# what is refused


def moved(model, **options):
    """A fitted classifier that claims other options."""
    X, y, *_ = problem(3)
    return FrozenEstimator(model.fit(X, y).set_params(**options))


REFUSED = {
    "got RandomForestClassifier": lambda: moved(RandomForestClassifier(5)),
    "got SGDClassifier": lambda: moved(SGDClassifier(loss="log_loss")),
    "got OneVsRestClassifier": lambda: moved(OneVsRestClassifier(LogisticRegression())),
    "got LogisticRegressionCV": lambda: moved(
        LogisticRegressionCV(
            Cs=2, cv=2, l1_ratios=(0,), scoring="accuracy", use_legacy_attributes=False
        )
    ),
    r"got Pipeline \(explain its last step on transformed rows\)": lambda: moved(
        make_pipeline(StandardScaler(), LogisticRegression())
    ),
    "this one has an L1 penalty": lambda: moved(
        LogisticRegression(solver="saga", l1_ratio=0.5, max_iter=10_000)
    ),
    # scikit-learn no longer fits it: a model of before
    "this one is one-versus-rest": lambda: moved(LogisticRegression(), solver="liblinear"),
    r"FrozenEstimator\(classifier\), got LogisticRegression": lambda: LogisticRegression(),
    "not fitted": lambda: FrozenEstimator(LogisticRegression()),
}


@pytest.mark.parametrize("message", REFUSED)
def test_other_heads_are_refused_by_name(message):
    X, y, *_ = problem(3)
    with pytest.raises(ValueError, match=message):
        InfluenceExplainer(REFUSED[message]()).fit(X, y)


PENALTY = "penalty" in LogisticRegression().get_params()


@pytest.mark.skipif(not PENALTY, reason="scikit-learn has no `penalty` any more")
@pytest.mark.filterwarnings("ignore:.*penalty")
@pytest.mark.parametrize("K", (2, 3))
def test_penalties_in_the_words_of_older_releases(K):
    X, y, _, test = problem(K)
    known = InfluenceExplainer(FrozenEstimator(unpenalized().fit(X, y))).fit(X, y)
    none = FrozenEstimator(regression(penalty=None).fit(X, y))
    assert_allclose(InfluenceExplainer(none).fit(X, y).attribute(test), known.attribute(test))
    ridge = FrozenEstimator(regression(penalty="l2", C=0.5).fit(X, y))
    known = InfluenceExplainer(FrozenEstimator(regression(C=0.5).fit(X, y))).fit(X, y)
    assert_allclose(InfluenceExplainer(ridge).fit(X, y).attribute(test), known.attribute(test))
    lasso = FrozenEstimator(LogisticRegression(penalty="l1", solver="saga", tol=0.1).fit(X, y))
    with pytest.raises(ValueError, match="this one has an L1 penalty"):
        InfluenceExplainer(lasso).fit(X, y)


def test_heads_that_do_not_belong_to_the_rows():
    X, y, *_ = problem(3)
    head = FrozenEstimator(LogisticRegression().fit(X, y))
    with pytest.raises(ValueError, match="label of y 'd' is not one of the classes"):
        InfluenceExplainer(head).fit(X, np.where(y == "a", "d", y))
    with pytest.raises(ValueError, match="X has 3 features, but the head.* has 4"):
        InfluenceExplainer(LinearHead(np.eye(3, 4), classes=list("abc"))).fit(X[:, :3], y)
    with pytest.raises(ValueError, match="3 features"):
        InfluenceExplainer(head).fit(X[:, :3], y)
    with pytest.raises(ValueError, match="class_weight is that of the frozen LogisticRegression"):
        InfluenceExplainer(head, class_weight="balanced").fit(X, y)
    with pytest.raises(ValueError, match="inverse_params has no 'rank' for inverse='cg'"):
        InfluenceExplainer(inverse="cg", inverse_params={"rank": 3}).fit(X, y)
    with pytest.raises(ValueError, match="with an unpenalized intercept.* give damping > 0"):
        InfluenceExplainer(head, inverse="datainf").fit(X, y)


@pytest.mark.parametrize("inverse", ("cholesky", "cg", "kfac", "ekfac"))
def test_a_dead_column_without_penalty_needs_damping(inverse):
    X, y, _, test = problem(3)
    X = X * [1, 0, 1, 1]
    head = FrozenEstimator(unpenalized(tol=1e-10).fit(X, y))
    with pytest.raises(ValueError, match="Hessian is singular.* Give damping > 0"):
        InfluenceExplainer(head, inverse=inverse).fit(X, y)
    e = InfluenceExplainer(head, inverse=inverse, damping=1e-3).fit(X, y)
    assert np.isfinite(e.attribute(test)).all()


def test_rows_to_remove_are_checked():
    X, y, _, test = problem(3)
    fitted = InfluenceExplainer().fit(X, y)
    frozen = InfluenceExplainer(FrozenEstimator(LogisticRegression().fit(X, y))).fit(X, y)
    whole = np.flatnonzero(y == "a")
    for e in (fitted, frozen):
        for group, message in [
            ([1, 1], "hold distinct training rows in each group, but one has row 1 2 times"),
            ([-1], "must be training rows 0..59"),
            ([60], "must be training rows 0..59"),
            ([], "must be training rows 0..59, or groups of one or more"),
            ([0.5], "must be training rows 0..59"),
            (range(60), "no row of positive weight would be left"),
        ]:
            with pytest.raises(ValueError, match=message):
                e.group_effect(test, list(group))
            with pytest.raises(ValueError, match=message):
                e.leave_one_out(test, X, y, rows=[0, list(group)])
        with pytest.raises(ValueError, match="must be the 60 rows given to fit"):
            e.leave_one_out(test, X[1:], y[1:])
        with pytest.raises(ValueError, match="label of y_train"):
            e.leave_one_out(test, X, np.full(60, "d"))
    # its logit goes to minus infinity, where a free intercept lets it
    with pytest.raises(ValueError, match="leaves a class without rows"):
        frozen.group_effect(test, whole)
    assert np.isfinite(fitted.leave_one_out(test, X, y, rows=[whole])).all()


@pytest.mark.parametrize("tol", (1e-3, 1e-12))
def test_a_group_that_alone_determines_a_feature(tol):
    """Without penalty nothing says what the feature's weight is once the group is gone."""
    X, y, _, test = problem(3)
    X = X.copy()
    X[12:, 1] = 0.0
    head = unpenalized(solver="lbfgs" if tol == 1e-3 else "newton-cg", tol=tol).fit(X, y)
    e = InfluenceExplainer(FrozenEstimator(head)).fit(X, y)
    with pytest.raises(ValueError, match="nothing determines the head without"):
        e.group_effect(test, np.arange(12))


def test_lazy_attributes_are_those_of_the_last_fit():
    X, y, *_ = problem(3)
    e = InfluenceExplainer(leverage_correction=False).fit(X, y)
    before = e.leverage_, e.self_influence_
    e.fit(2 * X[:50], y[:50])
    known = InfluenceExplainer(leverage_correction=False).fit(2 * X[:50], y[:50])
    assert before[0].shape == (60, 3, 3) and before[1].shape == (60,)
    assert_array_equal(e.leverage_, known.leverage_)
    assert_array_equal(e.self_influence_, known.self_influence_)


def test_too_few_newton_steps_warn():
    X, y, *_ = problem(3)
    with pytest.warns(ConvergenceWarning, match="stopped after 1 Newton steps"):
        e = InfluenceExplainer(C=100.0, max_iter=1).fit(X, y)
    assert e.n_iter_ == 1 and e.gradient_norm_ > 1e-4
