"""Fewer rows than features, and sparse rows: the same results without D x D matrices."""

from functools import cache

import numpy as np
import pytest
from cases import peak
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from skattrib import InfluenceExplainer, LinearHead, RepresenterExplainer
from skattrib._softmax import hessian, newton, preconditioners
from skattrib._softmax.hessian import KFAC
from skattrib._softmax.inverses import INVERSES, ConjugateGradients
from skattrib._softmax.loss import SoftmaxLoss
from skattrib._softmax.preconditioners import ClassBlocks, LeadingDirections, preconditioner
from skattrib._softmax.row_space import RowSpaceLoss, in_row_space
from skattrib.explainers import influence

# so that all of the few eigenvectors are found, and the series does not depend on a random start
PARAMS = {
    "cg": {"tol": 1e-13},
    "lissa": {"depth": 30, "scale": 5000.0},
    "arnoldi": {"n_iter": 500, "rank": 12},
}


def close(found, expected, tolerance=1e-8):
    """Relative to the largest entry."""
    assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@cache
def problem(K, n=30, d=45, m=6, zeros=0.0):
    """Rows of which two are equal and one is zero, labels, weights (some zero), test rows."""
    rng = np.random.default_rng(K)
    codes = np.r_[np.arange(K), rng.integers(K, size=n - K)]
    X = rng.normal(size=(n, d)) * rng.uniform(0.2, 2.0, size=d) + rng.normal(size=(K, d))[codes]
    test = rng.normal(size=(m, d))
    X[rng.random(X.shape) < zeros], test[rng.random(test.shape) < zeros] = 0.0, 0.0
    X[5], X[7], codes[5] = X[4], 0.0, codes[4]
    weight = rng.integers(1, 4, size=n) / 2.0
    weight[5], weight[8] = weight[4], 0.0
    return X, codes, weight, test


def head(name, K, X, y, weight):
    """Options of an explainer of a head of some kind."""
    rng = np.random.default_rng(0)
    if name == "fitted":
        return {"C": 0.3}
    if name == "without intercept":
        return {"C": 0.3, "fit_intercept": False}
    if name == "network":  # with weights orthogonal to all rows
        rows = 1 if K == 2 else K
        W = rng.normal(size=(rows, X.shape[1])) / 10
        return {"estimator": LinearHead(W, rng.normal(size=rows))}
    solver = "liblinear" if name == "liblinear" else "newton-cg"
    model = LogisticRegression(C=0.3, solver=solver, tol=1e-12, max_iter=10_000)
    return {"estimator": FrozenEstimator(model.fit(X, y, weight))}


def in_feature_space(monkeypatch):
    for module in (newton, influence):
        monkeypatch.setattr(module, "in_row_space", lambda loss: loss)


def of_influence(e, X, y, weight, test):
    """All that an explainer says, and what it keeps."""
    e.fit(X, y, weight)
    K = len(e.classes_)
    V = np.random.default_rng(1).normal(size=(test.shape[0], K))
    groups = [[0, 1, 2], 9]
    indices = np.arange(3 * test.shape[0]).reshape(-1, 3) % X.shape[0]
    shares = e.decompose(test, indices, target=V)
    change = np.eye(K)[y] - np.reshape(e.predict_proba(X), (-1, K))
    own = np.einsum("ik,ikl,il->i", change, e.leverage_, e._residuals)
    close(e.self_influence_, own, 1e-7)
    return {
        "coef": e.coef_,
        "intercept": e.intercept_,
        "attributions": e.attribute(test, V),
        "aggregate": e.aggregate(test, V),
        "shares": shares.toarray().reshape(*indices.shape, -1)
        if sparse.issparse(shares)
        else shares,
        "self-influence": e.self_influence_,
        "leverage": e.leverage_,
        "group": e.group_effect(test, groups[0], V),
        "refits": e.leave_one_out(test, X, y, weight, rows=groups, target=V),
        "no minimum": 1.0 + np.nan_to_num([e.gradient_norm_, e.newton_step_]),
    }


CASES = [
    (name, K)
    for K in (2, 3)
    for name in ("fitted", "without intercept", "free intercept", "network", "liblinear")
    if K == 2 or name != "liblinear"
]


@pytest.mark.parametrize("inverse", INVERSES)
@pytest.mark.parametrize(("name", "K"), CASES)
@pytest.mark.filterwarnings("ignore:the head is no minimum")
def test_influence_in_the_row_space_is_that_of_all_features(name, K, inverse, monkeypatch):
    damping = 0.2 * (K == 2)
    if inverse == "datainf" and name == "free intercept" and not damping:
        pytest.skip("asks for damping")
    X, y, weight, test = problem(K)
    options = head(name, K, X, y, weight) | {"inverse": inverse, "damping": damping}
    options |= {"inverse_params": PARAMS.get(inverse), "random_state": 0}
    options["leverage_correction"] = inverse in ("cholesky", "cg")
    found = InfluenceExplainer(**options)
    results = of_influence(found, X, y, weight, test)
    assert isinstance(found._loss, RowSpaceLoss) and found._loss.shape[1] <= len(X) + 1
    in_feature_space(monkeypatch)
    known = InfluenceExplainer(**options)
    expected = of_influence(known, X, y, weight, test)
    assert known._loss.shape[1] >= X.shape[1]
    for what, value in expected.items():
        close(results[what], value, 1e-6 if what == "refits" else 1e-8)


@pytest.mark.parametrize("K", (2, 3))
@pytest.mark.parametrize("fit_intercept", (True, False))
@pytest.mark.parametrize("dtype", (np.float64, np.float32))
def test_representer_in_the_row_space_is_that_of_all_features(K, fit_intercept, dtype, monkeypatch):
    X, y, weight, test = problem(K)
    X, test = X.astype(dtype), test.astype(dtype)
    options = {"C": 0.3, "fit_intercept": fit_intercept, "tol": 1e-12}
    found = RepresenterExplainer(**options).fit(X, y, weight)
    assert_array_equal(found.dual_coef_[:, 4], found.dual_coef_[:, 5])
    in_feature_space(monkeypatch)
    known = RepresenterExplainer(**options).fit(X, y, weight)
    for name in ("coef_", "intercept_", "dual_coef_", "self_influence_"):
        close(getattr(found, name), getattr(known, name))
    close(found.attribute(test), known.attribute(test), 1e-8 if dtype == np.float64 else 1e-5)
    assert found.completeness_error_ <= 1e-12


@pytest.mark.parametrize("K", (2, 4))
def test_a_wide_head_is_that_of_scikit_learn(K):
    """7,000 features of 60 rows."""
    X, y, _, test = problem(K, 60, 7000)
    model = LogisticRegression(C=1e-3, fit_intercept=False, solver="newton-cg", tol=1e-12).fit(X, y)
    e = RepresenterExplainer(C=1e-3, fit_intercept=False, tol=1e-10).fit(X, y)
    close(e.coef_, model.coef_, 1e-6)
    e = InfluenceExplainer(FrozenEstimator(model)).fit(X, y)
    assert e.gradient_norm_ < 1e-6
    less = LogisticRegression(C=1e-3, fit_intercept=False, solver="newton-cg", tol=1e-12)
    less.fit(X[1:], y[1:])
    change = model.decision_function(test) - less.decision_function(test)
    V = np.eye(K)[[1]] if K > 2 else np.array([[-1.0, 1.0]])
    V = np.repeat(V, len(test), axis=0)
    effect = e.leave_one_out(test, X, y, rows=[0], target=V)[:, 0]
    close(effect, change[:, 1] if K > 2 else change, 1e-5)


def test_the_row_space_is_taken_where_it_is_smaller():
    X, y, weight, _ = problem(3)
    q = np.eye(3)[y]
    for rows, penalty, smaller in [
        (X, np.ones(46), True),
        (X[:, :30], np.ones(31), False),
        (sparse.csr_array(X), np.ones(46), False),
        # no rotation leaves these alike
        (X, np.arange(46.0) + 1, False),
    ]:
        loss = SoftmaxLoss(rows, q, weight, penalty, True)
        assert isinstance(in_row_space(loss), RowSpaceLoss) == smaller


@pytest.mark.parametrize("layout", (np.asarray, sparse.csr_array))
@pytest.mark.parametrize("inverse", ("auto", "cholesky", "cg", "kfac", "ekfac", "arnoldi"))
@pytest.mark.parametrize("fit_intercept", (True, False))
@pytest.mark.filterwarnings("ignore:the head is no minimum")
def test_fewer_rows_than_features_without_a_penalty_ask_for_damping(layout, inverse, fit_intercept):
    rng = np.random.default_rng(0)
    X, y, test = rng.normal(size=(30, 45)), np.arange(30) % 3, rng.normal(size=(4, 45))
    X = layout(X)
    model = LogisticRegression(C=np.inf, fit_intercept=fit_intercept)
    model = FrozenEstimator(model.fit(X, y))
    with pytest.raises(ValueError, match="Hessian is singular.* Give damping > 0"):
        InfluenceExplainer(model, inverse=inverse).fit(X, y)
    e = InfluenceExplainer(model, inverse=inverse, damping=0.1, random_state=0).fit(X, y)
    assert np.isfinite(e.attribute(layout(test))).all()
    with pytest.raises(ValueError, match="nothing determines the head without these rows"):
        e.leave_one_out(layout(test), X, y, rows=[0])


# sparse rows


def as_if_wide(monkeypatch):
    """No matrix of order D is formed of sparse rows."""
    for module in (hessian, preconditioners):
        monkeypatch.setattr(module, "LARGEST_SPARSE_ORDER", 3, raising=module is hessian)
    monkeypatch.setattr(ClassBlocks, "fits", staticmethod(lambda loss: False))


SPARSE_CASES = [
    (*case, inverse, dtype)
    for inverse, dtype in (
        ("cg", np.float64),
        ("cg", np.float32),
        ("lissa", np.float32),
        ("arnoldi", np.float64),
        ("datainf", np.float64),
        ("identity", np.float32),
    )
    for case in (CASES if inverse == "cg" else CASES[::3])
]


@pytest.mark.parametrize(("name", "K", "inverse", "dtype"), SPARSE_CASES)
@pytest.mark.filterwarnings("ignore:the head is no minimum")
def test_influence_of_wide_sparse_rows_is_that_of_dense_ones(name, K, inverse, dtype, monkeypatch):
    if inverse == "datainf" and name == "free intercept":
        pytest.skip("asks for damping")
    X, y, weight, test = (A.astype(dtype) for A in problem(K, zeros=0.6))
    y = y.astype(int)
    options = head(name, K, X, y, weight) | {"inverse": inverse, "tol": 1e-12}
    options |= {"inverse_params": PARAMS.get(inverse), "random_state": 0}
    options["leverage_correction"] = inverse == "cg"
    in_feature_space(monkeypatch)
    expected = of_influence(InfluenceExplainer(**options), X, y, weight, test)
    as_if_wide(monkeypatch)
    rows = sparse.csr_array(X), y, weight, sparse.csr_array(test)
    found = of_influence(InfluenceExplainer(**options), *rows)
    for what, value in expected.items():
        tolerance = 1e-6 if what == "refits" else 1e-8
        close(found[what], value, tolerance if dtype == np.float64 else 1e-4)


@pytest.mark.parametrize("K", (2, 3))
@pytest.mark.parametrize("fit_intercept", (True, False))
def test_representer_of_wide_sparse_rows_is_that_of_dense_ones(K, fit_intercept, monkeypatch):
    X, y, weight, test = problem(K, zeros=0.6)
    e = RepresenterExplainer(C=3.0, fit_intercept=fit_intercept, tol=1e-11)
    expected = e.fit(X, y, weight).attribute(test)
    as_if_wide(monkeypatch)
    used, better = [], newton._better
    monkeypatch.setattr(newton, "DIRECT", 0)
    monkeypatch.setattr(newton, "_better", lambda *state: used.append(better(*state)) or used[-1])
    e.fit(sparse.csr_array(X), y, weight)
    assert {type(solver) for solver in used} == {LeadingDirections}
    assert e.completeness_error_ <= 1e-11
    close(e.attribute(test), expected)


@pytest.mark.parametrize("K", (2, 3))
@pytest.mark.parametrize("free", (False, True))
@pytest.mark.parametrize("size", (1.0, 3.0))
def test_leading_directions_are_exact_where_k_fac_is_and_they_are_all(K, free, size):
    """Of rows of two directions, when all rows have the same probabilities."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 2)) @ rng.normal(size=(2, 9))
    penalty = np.append(np.full(9, 0.3), 0.0 if free else 0.3)
    q = np.eye(K)[rng.integers(K, size=40)]
    loss = SoftmaxLoss(sparse.csr_array(X), q, rng.uniform(size=40), penalty, True, size)
    loss.at(np.zeros((40, K)))
    V = rng.normal(size=(4, K, 10))
    V -= V.mean(axis=1, keepdims=True)
    found = LeadingDirections(loss, 0.1 if free else 0.0)
    close(found.solve(V), KFAC(loss, 0.1 if free else 0.0).solve(V))


def test_leading_directions_weigh_rows_by_their_curvature():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 6))
    q, s = np.eye(3)[rng.integers(3, size=40)], rng.uniform(size=40)
    loss = SoftmaxLoss(sparse.csr_array(X), q, s, np.ones(7), True, 3.0)
    loss.at(rng.normal(size=(40, 3)))
    weight = loss.s * (1 - np.sum(loss.probabilities**2, axis=1)) / 3
    phi = np.column_stack([X, np.full(40, 3.0)])
    gram = phi.T @ (weight[:, None] * phi)
    found = LeadingDirections(loss)
    close(found._sizes(weight), np.diag(gram))
    part = found._leading(weight, 1)
    close(part.T @ part, gram)


def test_wide_sparse_rows_are_preconditioned_by_leading_directions():
    """A common direction of all rows, that the diagonal does not see."""
    rng = np.random.default_rng(0)
    X = sparse.random_array((300, 2500), density=0.02, rng=rng, format="csr")
    loss = SoftmaxLoss(X, np.eye(3)[np.arange(300) % 3], np.ones(300), np.full(2500, 0.01), False)
    loss.at(np.zeros((300, 3)))
    assert isinstance(preconditioner(loss), LeadingDirections)
    V = np.random.default_rng(1).normal(size=(2, 3, 2500))
    V -= V.mean(axis=1, keepdims=True)
    inverse = ConjugateGradients(loss, tol=1e-10)
    close(loss.product(inverse.solve(V)), V, 1e-8)


WIDE = 20_000


@cache
def text(n=500, d=WIDE, K=4):
    """Sparse rows of norm 1 and labels that their words tell."""
    rng = np.random.default_rng(0)
    y = rng.integers(K, size=n)
    frequency = 1 / np.arange(1, d + 1)
    chances = [frequency * np.exp(rng.normal(size=d)) for _ in range(K)]
    words = [rng.choice(d, size=60, p=chances[k] / chances[k].sum()) for k in y]
    ones, rows = np.ones(60 * n), np.repeat(np.arange(n), 60)
    X = sparse.csr_array((ones, (rows, np.concatenate(words))), shape=(n, d))
    X.sum_duplicates()
    return sparse.csr_array(X / np.sqrt(X.multiply(X).sum(axis=1))[:, None]), y


def uses(e, X, y, test):
    e.fit(X, y)
    return e.attribute(test), e.aggregate(test), e.top_k(test, 3)


@pytest.mark.parametrize("inverse", ("auto", "datainf", "identity"))
@pytest.mark.parametrize("kind", (RepresenterExplainer, InfluenceExplainer, "frozen"))
def test_wide_sparse_rows_take_memory_of_the_size_of_the_head(kind, inverse):
    """Some tens of (K, D) arrays; a D x D one is 3.2 GB, the dense rows 80 MB."""
    X, y = text()
    test = X[:3]
    if kind is RepresenterExplainer:
        if inverse != "auto":
            pytest.skip("has no inverse")
        e = RepresenterExplainer()
    elif kind == "frozen":
        model = LogisticRegression(C=2.0, tol=1e-6).fit(X, y)
        damping = float(inverse == "datainf")
        e = InfluenceExplainer(FrozenEstimator(model), inverse=inverse, damping=damping)
    else:
        e = InfluenceExplainer(inverse=inverse)
    memory = peak(uses, e, X, y, test)[1]
    assert memory < 60 * 8 * 4 * WIDE


def test_group_effects_and_refits_of_wide_sparse_rows():
    """One Newton step, and minima: close to each other where a row is one of many."""
    X, y = text()
    e = InfluenceExplainer(C=1.0).fit(X, y)
    assert (e.inverse_, e.leverage_correction_) == ("cg", False)
    (step, refit), memory = peak(
        lambda: (
            e.group_effect(X[:3], [10], 1),
            e.leave_one_out(X[:3], X, y, rows=[10], target=1)[:, 0],
        )
    )
    assert memory < 60 * 8 * 4 * WIDE
    close(step, refit, 0.02)


@pytest.mark.parametrize("inverse", ("cholesky", "kfac", "ekfac"))
def test_inverses_that_do_not_fit_name_those_that_do(inverse):
    X, y = text()
    message = (
        f"inverse='{inverse}' takes a dense matrix of order .* 8,000 is the most: choose among "
        "'cg', 'lissa', 'arnoldi', 'datainf', 'identity'"
    )
    with pytest.raises(ValueError, match=message):
        InfluenceExplainer(inverse=inverse).fit(X, y)


def test_unpenalized_wide_sparse_rows_ask_for_damping():
    """Even where there are rows enough."""
    rng = np.random.default_rng(0)
    X = sparse.random_array((9000, 8500), density=0.001, rng=rng, format="csr")
    y = rng.integers(2, size=9000)
    e = InfluenceExplainer(LinearHead(np.zeros((1, 8500))), inverse="cg").fit(X, y)
    assert e.inverse_ == "cg"
    loss = SoftmaxLoss(X, np.eye(2)[y], np.ones(9000), np.zeros(8500), False)
    with pytest.raises(np.linalg.LinAlgError, match="8,500 sparse features without a penalty"):
        hessian.check_determined(loss)
