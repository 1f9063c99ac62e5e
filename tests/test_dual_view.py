"""DualViewExplainer and blocks of true size: completeness, sign, unit, certificate, solver.

What it shares with other explainers is in test_contract_*.py.

Oracles are loops over the formulas (reference.py) on duals read from the public attributes.
Attributions of float32 rows are compared up to what float32 rounds in their terms (`rounding`).
"""

import tracemalloc
import warnings
from functools import cache

import numpy as np
import pytest
import reference
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn import config_context, get_config
from sklearn.datasets import load_digits, make_blobs
from sklearn.exceptions import ConvergenceWarning

from skattrib import DualViewExplainer, DualViewExplainerCV, RowBlocks
from skattrib._svm.crammer_singer import crammer_singer

LAYOUTS = ("dense32", "dense64", "csr32", "csr64")
LABELS = {2: np.array(["no", "yes"]), 3: np.array([-1, 4, 7]), 70: np.arange(70) * 2}


def laid_out(X, layout):
    X = np.ascontiguousarray(X, dtype=np.float32 if layout.endswith("32") else np.float64)
    return sparse.csr_array(X) if layout.startswith("csr") else X


@cache
def problem(K, layout, weighted=False):
    """Rows with labels that the features tell in part, test rows, weights (some of them zero)."""
    rng = np.random.default_rng(K)
    n, d, m = {2: (60, 5, 9), 3: (80, 6, 11), 70: (150, 12, 4)}[K]
    y = np.concatenate([np.arange(K), rng.binomial(K - 1, 0.4, size=n - K)])
    X = rng.normal(size=(n, d)) + 0.7 * rng.normal(size=(K, d))[y]
    X[rng.random(size=X.shape) < 0.3] = 0.0
    test = rng.normal(size=(m, d))
    weight = rng.integers(0, 4, size=n) / 2.0 if weighted else None
    return laid_out(X, layout), LABELS[K][y], laid_out(test, layout), weight


def short(explainer, *data):
    """fit without the warning about its few sweeps."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return explainer.fit(*data)


@cache
def fitted(K, layout, fit_intercept=True, weighted=False, **options):
    X, y, _, weight = problem(K, layout, weighted)
    options = {"C": 0.1, "random_state": 0, "fit_intercept": fit_intercept} | options
    return short(DualViewExplainer(**options), X, y, weight)


def logit_duals(e):
    """Duals of the logits, (n_samples_fit_, K), from the public attributes."""
    dual = reference.dense(e.dual_coef_)
    if len(e.classes_) == 2:
        dual = np.concatenate([-dual / 2, dual / 2])
    alpha = np.zeros((e.n_samples_fit_, len(e.classes_)))
    alpha[e.support_] = dual.T
    return alpha


def logits(e, X):
    f = e.decision_function(X)
    return np.column_stack([-f / 2, f / 2]) if f.ndim == 1 else f


def label_weights(e, labels):
    V = np.array([[float(c == label) for c in e.classes_] for label in labels])
    return 2 * V - 1 if len(e.classes_) == 2 else V


def targets(e, X):
    """Name -> (target, its logit weights): every form that a target may have."""
    rng = np.random.default_rng(0)
    m, K = X.shape[0], len(e.classes_)
    labels = e.classes_[rng.integers(0, K, size=m)]
    V = rng.normal(size=(m, K))
    V[0] = 0.0
    return {
        "predicted": (None, label_weights(e, e.predict(X))),
        "one": (e.classes_[-1], label_weights(e, [e.classes_[-1]] * m)),
        "labels": (labels, label_weights(e, labels)),
        "weights": (V, V),
    }


TARGETS = ("predicted", "one", "labels", "weights")


def rounding(e, X, X_test, V):
    """What the float type of X_test rounds in T, (m, n), from the sizes of the terms."""
    a, b = reference.dense(X_test), reference.dense(X)
    sizes = np.abs(a) @ np.abs(b).T
    eps = np.finfo(X_test.dtype).eps
    return eps * (a.shape[1] + 4) * (np.abs(V) @ np.abs(logit_duals(e)).T) * sizes


layouts = pytest.mark.parametrize("layout", LAYOUTS)
n_classes = pytest.mark.parametrize("K", [2, 3, 70])
# each two together; all three are in tests of the solver
in_pairs = pytest.mark.parametrize(
    "layout, K, fit_intercept",
    [
        (layout, K, bool((i + j) % 2))
        for i, layout in enumerate(LAYOUTS)
        for j, K in enumerate(LABELS)
    ],
)
forms = pytest.mark.parametrize("form", TARGETS)


# completeness, sign, unit


@in_pairs
@pytest.mark.parametrize("weighted", [False, True], ids=["ones", "weights"])
@pytest.mark.parametrize("max_iter", [1, 2, 5, 1000])
def test_rows_sum_to_the_output_at_every_stage(layout, K, fit_intercept, weighted, max_iter):
    X, _, X_test, _ = problem(K, layout)
    e = fitted(K, layout, fit_intercept, weighted, max_iter=max_iter)
    for target, V in targets(e, X_test).values():
        output = np.sum(V * logits(e, X_test), axis=1) - e.base_value(X_test, target)
        T = reference.dense(e.attribute(X_test, target))
        allowed = 1e-12 * (K + 10) * (np.abs(T).sum(axis=1) + np.abs(e.base_value(X_test, target)))
        if layout.endswith("32"):
            allowed += rounding(e, X, X_test, V).sum(axis=1)
        assert (np.abs(T.sum(axis=1) - output) <= allowed).all()


def test_stopping_short_warns():
    X, y, _, _ = problem(3, "dense64")
    with pytest.warns(ConvergenceWarning, match="scale the features|lower C"):
        e = DualViewExplainer(max_iter=1, tol=1e-9).fit(X, y)
    assert e.n_iter_ == 1 and e.dual_gap_ > 1e-9


@n_classes
def test_label_targets_sum_to_the_decision_function(K):
    _, _, X_test, _ = problem(K, "dense64")
    e = fitted(K, "dense64")
    f = e.decision_function(X_test)
    for c, label in enumerate(e.classes_):
        expected = f * (2 * c - 1) if K == 2 else f[:, c]
        sums = e.attribute(X_test, label).sum(axis=1) + e.base_value(X_test, label)
        assert_allclose(sums, expected, atol=1e-12)


@in_pairs
def test_rows_support_their_own_class_and_oppose_the_others(layout, K, fit_intercept):
    X, y, X_test, _ = problem(K, layout)
    e = fitted(K, layout, fit_intercept)
    assert (e.self_influence_ >= 0).all() and (e.self_influence_ > 0).sum() > len(y) / 4
    # similarities that are not negative leave the sign to the duals
    T = reference.dense(short(e.__class__(C=0.1), abs(X), y).attribute(abs(X_test), e.classes_[1]))
    own = y == e.classes_[1]
    assert (T[:, own] >= 0).all() and T[:, own].max() > 0
    assert (T[:, ~own] <= 0).all() and T[:, ~own].min() < 0


def test_removing_a_row_takes_away_its_attribution():
    # row 0 alone speaks for feature 0, so its attribution there is its whole effect
    X = np.eye(4)[[0, 1, 1, 2, 3]]
    y = np.array([0, 0, 1, 1, 2])
    options = {"C": 0.1, "fit_intercept": False, "tol": 1e-12}
    e = DualViewExplainer(**options).fit(X, y)
    test = np.eye(4)[:1]
    T = e.attribute(test, 0).toarray()
    assert_allclose(T, [[e.decision_function(test)[0, 0], 0, 0, 0, 0]], atol=1e-15)
    assert T[0, 0] > 0 > e.attribute(test, 1).toarray()[0, 0]
    without = DualViewExplainer(**options).fit(X[1:], y[1:])
    twice = DualViewExplainer(**options).fit(X, y, [2, 1, 1, 1, 1])
    f = [model.decision_function(test)[0, 0] for model in (without, e, twice)]
    assert_allclose(f[1] - f[0], T[0, 0], atol=1e-12)
    assert f[0] < f[1] < f[2]


# attribute in all its forms


@in_pairs
@forms
def test_attribute_is_the_formula(layout, K, fit_intercept, form):
    X, _, X_test, _ = problem(K, layout, True)
    e = fitted(K, layout, fit_intercept, True)
    target, V = targets(e, X_test)[form]
    expected = reference.attributions(logit_duals(e), X, X_test, V)
    allowed = rounding(e, X, X_test, V)
    T = e.attribute(X_test, target)
    assert sparse.issparse(T) and T.format == "csr" and T.has_canonical_format
    T.check_format()
    out = np.full(T.shape, np.nan, dtype=X.dtype)
    assert e.attribute(X_test, target, out=out) is out
    assert T.dtype == out.dtype == X_test.dtype
    for values in (T.toarray(), out):
        assert (np.abs(values - expected) <= allowed).all()
    assert_array_equal(T.toarray(), out)
    outside = np.setdiff1d(np.arange(X.shape[0]), e.support_)
    assert (out[:, outside] == 0).all() and not np.isin(T.indices, outside).any()


@cache
def large():
    """More rows than a block has, on both sides, with ties: small integers."""
    rng = np.random.default_rng(0)
    X = rng.integers(-2, 3, size=(2500, 6)).astype(np.float64)
    y = rng.integers(0, 3, size=2500)
    e = short(DualViewExplainer(C=1e-3, random_state=0), X, y)
    assert len(e.support_) > 2048
    return e, X, rng.integers(-2, 3, size=(300, 6)).astype(np.float64)


@pytest.mark.parametrize("form", ["predicted", "weights"])
@pytest.mark.parametrize("layout", ["dense64", "csr64", "dense32"])
def test_blocks(form, layout):
    e, X, X_test = large()
    target, V = targets(e, X_test)[form]
    X_test = laid_out(X_test, layout)
    expected = (V @ logit_duals(e).T) * (reference.dense(X_test) @ X.T)
    out = np.empty((300, 2500), dtype=X_test.dtype)
    T = e.attribute(X_test, target, out=out)
    assert (np.abs(T - expected) <= rounding(e, X, X_test, V)).all()
    assert_array_equal(e.attribute(X_test, target).toarray(), T)
    for largest in (True, False):
        values, rows = e.top_k(X_test, 7, target=target, largest=largest)
        order = np.argsort(-T if largest else T, axis=1, kind="stable")[:, :7]
        assert_array_equal(rows, order)
        assert_array_equal(values, np.take_along_axis(T, order, axis=1))
    total = e.aggregate(X_test, target)
    assert_allclose(total, expected.sum(axis=0), rtol=0, atol=1e-9 * np.abs(expected).sum())


# decompose


@in_pairs
@forms
def test_decompose_shares_the_attribution_among_features(layout, K, fit_intercept, form):
    X, _, X_test, _ = problem(K, layout, True)
    e = fitted(K, layout, fit_intercept, True)
    target, V = targets(e, X_test)[form]
    alpha = logit_duals(e)
    rng = np.random.default_rng(0)
    rows = rng.integers(0, e.n_samples_fit_, size=(X_test.shape[0], 6))
    outside = np.setdiff1d(np.arange(e.n_samples_fit_), e.support_)
    rows[:, 0] = outside[-1]  # a row that contributes nothing
    rows[1] = outside[:6]
    rows[2] = rows[2, 1]
    whole = reference.dense(e.attribute(X_test, target))
    rows[3] = np.argsort(-np.abs(whole[3]))[:6]
    shares = e.decompose(X_test, rows, target=target)
    assert sparse.issparse(shares) == sparse.issparse(X_test) and shares.dtype == X_test.dtype
    shares = reference.dense(shares).reshape(*rows.shape, X.shape[1])
    expected = np.take_along_axis(
        reference.decompose(alpha, X, X_test, V), rows[:, :, None], axis=1
    )
    assert_allclose(shares, expected, rtol=20 * np.finfo(X.dtype).eps, atol=1e-15)
    assert (shares[:2, 0] == 0).all() and (shares[1] == 0).all()
    assert shares[3, 0].any() == whole[3].any()
    T = np.take_along_axis(whole, rows, axis=1)
    allowed = 2 * np.take_along_axis(rounding(e, X, X_test, V), rows, axis=1)
    assert (np.abs(shares.sum(axis=2) - T) <= allowed).all()


# what fit leaves


@in_pairs
@pytest.mark.parametrize("weighted", [False, True], ids=["ones", "weights"])
def test_fitted_attributes(layout, K, fit_intercept, weighted):
    X, y, X_test, weight = problem(K, layout, weighted)
    e = fitted(K, layout, fit_intercept, weighted)
    n, d = X.shape
    rows = 1 if K == 2 else K
    assert_array_equal(e.classes_, np.unique(y))
    assert (e.n_samples_fit_, e.n_features_in_) == (n, d)
    assert isinstance(e.n_iter_, int) and 1 <= e.n_iter_ <= 1000
    assert 0 <= e.dual_gap_ <= e.tol
    assert e.dual_coef_.shape == (rows, len(e.support_)) and e.dual_coef_.dtype == np.float64
    assert sparse.issparse(e.dual_coef_) == (K > 64)
    assert (np.diff(e.support_) > 0).all() and 0 < len(e.support_) < n + (not weighted)
    assert (np.abs(reference.dense(e.dual_coef_)).max(axis=0) > 0).all()
    vectors = reference.dense(e.support_vectors_)
    assert sparse.issparse(e.support_vectors_) == layout.startswith("csr")
    assert e.support_vectors_.dtype == X.dtype
    assert_array_equal(vectors, reference.dense(X)[e.support_])
    dual = reference.dense(e.dual_coef_)
    assert e.coef_.shape == (rows, d) and e.intercept_.shape == (rows,)
    scale = np.abs(dual) @ np.abs(vectors)
    assert (np.abs(e.coef_ - dual @ vectors) <= 1e-13 * scale).all()
    b = dual.sum(axis=1) * float(fit_intercept)
    assert_allclose(e.intercept_, b, rtol=0, atol=1e-13 * np.abs(dual).sum(axis=1).max())
    # the objective, and duals that are feasible
    codes = np.searchsorted(e.classes_, y)
    W, b = (np.concatenate([-v / 2, v / 2]) if K == 2 else v for v in (e.coef_, e.intercept_))
    primal = reference.primal(W, b, X, codes, e.C, weight, fit_intercept)
    # float32 duals are rounded, and with them the sums
    rtol = 1e-8 if X.dtype == np.float32 else 1e-12
    assert_allclose(e.objective_, primal, rtol=rtol)
    alpha = logit_duals(e)
    assert reference.infeasibility(alpha, codes, e.C, weight) <= 1e-12
    gap = primal - reference.dual(alpha, X, codes, fit_intercept)
    assert_allclose(e.dual_gap_ * e.objective_, gap, rtol=0, atol=10 * rtol * primal)
    # the head
    f = reference.decision_function(e.coef_, e.intercept_, X_test)
    decision = e.decision_function(X_test)
    assert decision.dtype == np.float64
    assert_allclose(decision, f[:, 0] if K == 2 else f, rtol=1e-12, atol=1e-14)
    expected = (decision > 0).astype(int) if K == 2 else decision.argmax(axis=1)
    assert_array_equal(e.predict(X_test), e.classes_[expected])
    assert e.score(X, y, weight) == np.average(e.predict(X) == y, weights=weight)


@in_pairs
def test_self_influence_is_the_diagonal(layout, K, fit_intercept):
    X, y, _, _ = problem(K, layout, True)
    e = fitted(K, layout, fit_intercept, True)
    T = reference.dense(e.attribute(X, y))
    assert e.self_influence_.dtype == np.float64
    assert_allclose(e.self_influence_, np.diag(T), rtol=20 * np.finfo(X.dtype).eps, atol=1e-15)
    scale = 2 if K == 2 else 1
    codes = np.searchsorted(e.classes_, y)
    expected = reference.self_influence(scale * logit_duals(e), X, codes)
    assert_allclose(e.self_influence_, expected, rtol=1e-13, atol=1e-15)


# the certificate


@pytest.mark.parametrize("layout", ["dense64", "dense32", "csr64"])
@pytest.mark.parametrize("K", [2, 3])
@pytest.mark.parametrize(
    ("fit_intercept", "weighted", "C"),
    # each two together
    [(bias, bias == (C == 0.03), C) for bias in (True, False) for C in (1e-3, 0.03, 0.3)],
)
def test_decision_error_bound_holds(layout, K, fit_intercept, weighted, C):
    _, _, X_test, _ = problem(K, layout)
    options = {"C": C, "max_iter": 20000}
    tol = 1e-7 if layout.endswith("32") else 1e-10
    best = fitted(K, layout, fit_intercept, weighted, tol=tol, **options)
    assert best.dual_gap_ <= tol
    last = None
    for tol in (1e-1, 1e-2, 1e-3, 1e-4):
        e = fitted(K, layout, fit_intercept, weighted, tol=tol, **options)
        for target, V in targets(e, X_test).values():
            bound = e.decision_error_bound(X_test, target)
            gap = e.dual_gap_ * e.objective_
            expected = reference.decision_error_bound(gap, X_test, V, fit_intercept)
            assert bound.dtype == np.float64
            assert_allclose(bound, expected, rtol=1e-12)
            error = np.abs(np.sum(V * (logits(e, X_test) - logits(best, X_test)), axis=1))
            left = best.decision_error_bound(X_test, V)
            assert (error <= bound + left + 1e-13).all()
        bound = e.decision_error_bound(X_test, best.classes_[0])
        assert last is None or (bound <= last).all() or e.dual_gap_ > tol / 10
        last = bound
    assert (best.decision_error_bound(X_test) < 1e-2).all()


def test_decision_error_bound_on_digits():
    X, y = load_digits(return_X_y=True)
    X, y, X_test = X[:500] / 16, y[:500], X[500:700] / 16
    best = DualViewExplainer(C=0.05, tol=1e-8, max_iter=5000).fit(X, y)
    for tol in (1e-1, 1e-2, 1e-3):
        e = DualViewExplainer(C=0.05, tol=tol).fit(X, y)
        for label in range(10):
            difference = e.decision_function(X_test) - best.decision_function(X_test)
            bound = e.decision_error_bound(X_test, label)
            bound += best.decision_error_bound(X_test, label)
            assert (np.abs(difference[:, label]) <= bound).all()


# weights, repeated rows, seeds, warm start


@layouts
@pytest.mark.parametrize("K", [2, 3])
def test_equal_rows_share_by_their_weights(layout, K):
    X, y, X_test, _ = problem(K, layout)
    stacked = (sparse.vstack if sparse.issparse(X) else np.vstack)([X, X])
    stacked = sparse.csr_array(stacked) if sparse.issparse(X) else stacked
    n = X.shape[0]
    weight = np.repeat([1.0, 3.0], n)
    e = DualViewExplainer(C=0.05, random_state=0).fit(stacked, np.tile(y, 2), weight)
    T = e.attribute(X_test).toarray()
    assert_allclose(3 * T[:, :n], T[:, n:], rtol=1e-6 if X.dtype == np.float32 else 1e-13)


def assert_same_head(a, b, X_test):
    """Outputs of two fits of one problem, as close as their certificates say."""
    for label in a.classes_:
        V = label_weights(a, [label] * X_test.shape[0])
        error = np.abs(np.sum(V * (logits(a, X_test) - logits(b, X_test)), axis=1))
        bound = a.decision_error_bound(X_test, V) + b.decision_error_bound(X_test, V)
        assert (error <= bound + 1e-12).all()


@layouts
@pytest.mark.parametrize("K", [2, 3])
def test_rows_of_weight_zero_do_not_move_the_head(layout, K):
    X, y, X_test, weight = problem(K, layout, True)
    e = fitted(K, layout, True, True, tol=1e-7, max_iter=20000)
    kept = np.flatnonzero(weight)
    without = DualViewExplainer(C=0.1, tol=1e-7, max_iter=20000)
    assert_same_head(e, without.fit(X[kept], y[kept], weight[kept]), X_test)


@pytest.mark.parametrize(
    "layout, K",
    [(layout, K) for K in LABELS for layout in (LAYOUTS if K < 70 else LAYOUTS[::3])],
)
def test_warm_start(layout, K):
    X, y, X_test, _ = problem(K, layout)
    options = {"tol": 1e-5, "max_iter": 20000, "random_state": 0}
    e = DualViewExplainer(C=0.1, warm_start=True, **options).fit(X, y)
    first = e.n_iter_
    cold = DualViewExplainer(C=0.11, **options).fit(X, y)
    e.fit(X, y)
    assert e.n_iter_ <= max(1, first // 5) and e.dual_gap_ <= 1e-5
    e.set_params(C=0.11).fit(X, y)
    assert e.n_iter_ < cold.n_iter_ and e.dual_gap_ <= 1e-5
    assert_same_head(e, cold, X_test)
    # completeness from there on too
    T = reference.dense(e.attribute(X_test, e.classes_[0]))
    V = label_weights(e, [e.classes_[0]] * X_test.shape[0])
    allowed = rounding(e, X, X_test, V).sum(axis=1) + 1e-12 * (K + 10) * np.abs(T).sum(axis=1)
    output = np.sum(V * logits(e, X_test), axis=1) - e.base_value(X_test, V)
    assert (np.abs(T.sum(axis=1) - output) <= allowed).all()
    # other weights: the start is made feasible
    weight = problem(K, layout, True)[3]
    e.set_params(C=0.1).fit(X, y, weight)
    assert_array_equal(reference.dense(e.attribute(X_test))[:, weight == 0], 0)
    codes = np.searchsorted(e.classes_, y)
    assert reference.infeasibility(logit_duals(e), codes, 0.1, weight) <= 1e-12


def test_warm_start_on_other_data_starts_anew():
    X, y, X_test, _ = problem(3, "dense64")
    e = DualViewExplainer(C=0.1, warm_start=True, random_state=0).fit(X, y)
    for rows, labels in [(X[:50], y[:50]), (X, y.astype(str)), (X, (y == 4))]:
        e.fit(rows, labels)
        cold = DualViewExplainer(C=0.1, random_state=0).fit(rows, labels)
        assert_array_equal(e.coef_, cold.coef_)
    e.fit(X, y)
    assert e.fit(X[:, :2], y).coef_.shape == (3, 2)


@n_classes
def test_a_warm_start_at_a_hard_C_takes_the_weights_too(K):
    X, y, X_test, _ = problem(K, "dense64")
    options = {"tol": 1e-6, "max_iter": 20000, "random_state": 0}
    e = DualViewExplainer(C=20.0, warm_start=True, **options).fit(X, y)
    cold = DualViewExplainer(C=30.0, **options).fit(X, y)
    warm = e.set_params(C=30.0).fit(X, y)
    assert warm.dual_gap_ <= 1e-6 and warm.n_iter_ < cold.n_iter_
    assert_same_head(warm, cold, X_test)
    # without an intercept it starts anew
    anew = e.set_params(fit_intercept=False).fit(X, y)
    fresh = DualViewExplainer(C=30.0, fit_intercept=False, **options).fit(X, y)
    assert_array_equal(anew.coef_, fresh.coef_)


@pytest.mark.parametrize("tol", [1e-4, 1e-6])
def test_canonical_attributions_follow_a_permutation_of_the_rows(tol):
    X, y = load_digits(return_X_y=True)
    X = X / 16
    order = np.random.default_rng(0).permutation(len(y))
    moved = []
    for canonical in (True, False):
        options = {"C": 1 / np.mean(X**2) / X.shape[1], "tol": tol, "canonical": canonical}
        a = DualViewExplainer(random_state=0, **options).fit(X, y).attribute(X[:20])
        b = DualViewExplainer(random_state=1, **options).fit(X[order], y[order]).attribute(X[:20])
        moved.append(np.abs(a.toarray()[:, order] - b.toarray()).max() / np.abs(a).max())
    assert moved[0] <= 1e-6 < moved[1] <= 3e3 * tol


def test_seeds():
    X, y, X_test, _ = problem(3, "dense64")
    a, b, c = (DualViewExplainer(C=0.1, random_state=s).fit(X, y) for s in (0, 0, 1))
    assert_array_equal(a.attribute(X_test).toarray(), b.attribute(X_test).toarray())
    assert_array_equal(a.dual_coef_, b.dual_coef_)
    assert_same_head(a, c, X_test)
    state = DualViewExplainer(C=0.1, random_state=np.random.RandomState(0)).fit(X, y)
    assert_array_equal(a.coef_, state.coef_)


# inputs


def peak(function, *args, **options):
    tracemalloc.start()
    try:
        result = function(*args, **options)
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_read_only_memory_maps_are_not_copied(tmp_path):
    X, y = make_blobs(n_samples=40_000, n_features=100, centers=3, random_state=0)
    for dtype in (np.float64, np.float32):
        np.save(tmp_path / "X.npy", (X / 20).astype(dtype))
        mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
        e, memory = peak(DualViewExplainer(C=1.0, tol=1e-2, random_state=0).fit, mapped, y)
        # support rows stay in the file: at most 200 bytes a row, and no block the size of X
        assert isinstance(e.support_vectors_, RowBlocks)
        assert memory < 200 * len(y) + 2e6 < 0.7 * mapped.nbytes
        assert_array_equal(e.predict(mapped[:100]), y[:100])
        _, memory = peak(e.decision_function, mapped)
        assert memory < mapped.nbytes / 2
        _, memory = peak(e.decision_error_bound, mapped)
        assert memory < mapped.nbytes / 2


def test_rows_that_overflow():
    X, y, _, _ = problem(3, "dense64")
    with pytest.raises(ValueError, match="scale"):
        DualViewExplainer().fit(X * 1e200, y)


# the rest


@pytest.mark.parametrize(
    "scale, C", [(1e-6, 1.0), (1e-100, 1.0), (1e-6, "scale"), (1e-70, "scale")]
)
def test_small_rows(scale, C):
    X, y, X_test, _ = problem(3, "dense64")
    e = DualViewExplainer(C, fit_intercept=False).fit(X * scale, y)
    T = e.attribute(X_test * scale)
    f = e.decision_function(X_test * scale).max(axis=1)
    assert_allclose(T.sum(axis=1), f, rtol=1e-12)
    assert (f > 0).any()


@pytest.mark.parametrize("kind", ["one", "CV"])
def test_a_loose_tol_at_a_hard_C_is_named(kind):
    X, y, _, _ = problem(2, "dense64")
    C = 101 / np.mean(np.sum(X**2, axis=1) + 1)

    def fit(C, **options):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if kind == "CV":
                DualViewExplainerCV(Cs=[C], cv=2, **options).fit(X, y)
            else:
                DualViewExplainer(C, **options).fit(X, y)
        return [str(one.message) for one in caught if "another order" in str(one.message)]

    (message,) = fit(C)
    assert message.startswith("C * mean ||x||^2 is 1.0e+02") and "set tol=1e-6" in message
    assert fit(C, tol=1e-6) == [] and fit(0.98 * C) == []


def test_verbose_prints_and_silence_does_not(capsys):
    X, y, _, _ = problem(3, "dense64")
    DualViewExplainer(C=0.01).fit(X, y)
    assert capsys.readouterr().out == ""
    DualViewExplainer(C=0.01, verbose=1).fit(X, y)
    assert "relative gap" in capsys.readouterr().out


# leaving rows out


@pytest.mark.parametrize("layout", ["dense32", "dense64", "csr64"])
@pytest.mark.parametrize("K", [2, 3])
@pytest.mark.parametrize("weighted", [False, True], ids=["ones", "weights"])
def test_leave_one_out_is_the_svm_without_the_rows(layout, K, weighted):
    X, y, X_test, weight = problem(K, layout, weighted)
    e = fitted(K, layout, weighted=weighted, tol=1e-6)
    rows = [*range(0, 30, 3), np.arange(5, 12)]
    V = targets(e, X_test)["weights"][1]
    effects, bound = e.leave_one_out(
        X_test, X, y, weight, rows=rows, target=V, return_bound=True, tol=1e-12
    )
    tight = {"C": e.C, "tol": 1e-13, "max_iter": 100_000, "random_state": 1}
    rows64 = sparse.csr_array(X).astype(np.float64) if sparse.issparse(X) else X.astype(np.float64)
    f = logits(short(DualViewExplainer(**tight), rows64, y, weight), X_test)
    for k, group in enumerate(rows):
        kept = np.setdiff1d(np.arange(X.shape[0]), group)
        without = short(
            DualViewExplainer(**tight),
            rows64[kept],
            y[kept],
            None if weight is None else weight[kept],
        )
        real = np.sum(V * (f - logits(without, X_test)), axis=1)
        assert_allclose(effects[:, k], real, rtol=0, atol=1e-4 * np.abs(effects).max())
        assert (np.abs(effects[:, k] - real) <= bound[:, k] + 1e-5 * np.abs(effects).max()).all()


def test_the_bound_of_leave_one_out_is_that_of_both_gaps(monkeypatch):
    """||v - mean(v)|| ||(phi, 1)|| times sqrt(P - D), summed over both solves."""
    X, y, X_test, weight = problem(3, "dense64", True)
    e = fitted(3, "dense64", weighted=True)
    found = []

    def recorded(rows, codes, C, *, sample_weight, **options):
        result = crammer_singer(rows, codes, C, sample_weight=sample_weight, **options)
        W, b = result.coef, result.intercept
        primal = reference.primal(W, b, rows, codes, C, sample_weight, True)
        gap = primal - reference.dual(reference.dense(result.dual), rows, codes, True)
        found.append((np.flatnonzero(sample_weight != weight), np.sqrt(max(gap, 0.0))))
        return result

    monkeypatch.setattr("skattrib.explainers.dual_view.crammer_singer", recorded)
    rows = [*e.support_[:5], e.support_[5:9], np.setdiff1d(np.arange(len(y)), e.support_)[-1]]
    V = targets(e, X_test)["weights"][1]
    _, bound = e.leave_one_out(
        X_test, X, y, weight, rows=rows, target=V, tol=1e-2, return_bound=True
    )
    (none, full), *without = found
    assert len(none) == 0 and full > 0
    far = {tuple(removed): off for removed, off in without}
    assert len(far) == 6 and all(far.values())
    # a row without duals leaves the full solution, which may be as far from both optima
    expected = [full + far.get(tuple(np.atleast_1d(group)), full) for group in rows]
    reach = reference.decision_error_bound(1.0, X_test, V, True)
    assert_allclose(bound, np.outer(reach, expected), rtol=1e-6)


def test_rows_that_change_after_fit_do_not_change_attributions():
    X, y, X_test, _ = problem(3, "dense64")
    X = X.copy()
    e = DualViewExplainer(C=0.1, random_state=0).fit(X, y)
    before = e.attribute(X_test).toarray(), e.self_influence_.copy()
    X[:] = np.nan
    assert_array_equal(e.attribute(X_test).toarray(), before[0])
    assert_array_equal(e.self_influence_, before[1])


def test_a_warm_start_at_a_C_of_no_ratio_starts_anew():
    X, y, _, _ = problem(3, "dense64")
    X = X * 1e-70
    e = DualViewExplainer(C=1e-190, fit_intercept=False, warm_start=True, random_state=0).fit(X, y)
    e.set_params(C=1e140).fit(X, y)
    cold = DualViewExplainer(C=1e140, fit_intercept=False, random_state=0).fit(X, y)
    assert_array_equal(e.coef_, cold.coef_)


@pytest.mark.parametrize("weight", [5e-324, 1e-250])
def test_weights_of_nothing_are_refused(weight):
    X, y, _, _ = problem(3, "dense64")
    with pytest.raises(ValueError, match="raise C or the weights"):
        DualViewExplainer(canonical=True).fit(X, y, np.full(len(y), weight))
    with pytest.raises(ValueError, match="raise C or the weights"):
        DualViewExplainer(C=1e-320).fit(X, y)


def test_weights_of_nothing_beside_others_are_settled_too():
    X, y, _, _ = problem(3, "dense64")
    weight = np.ones(len(y))
    weight[:9] = 5e-324
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        e = DualViewExplainer(canonical=True, random_state=0).fit(X, y, weight)
    assert e.dual_gap_ <= 1e-4 and np.isfinite(e.dual_coef_).all()


def test_leaving_out_rows_without_duals_changes_nothing():
    X, y, X_test, _ = problem(3, "dense64")
    e = fitted(3, "dense64", tol=1e-8)
    effects = e.leave_one_out(X_test, X, y)
    assert effects.shape == (len(X_test), len(X))
    unused = np.setdiff1d(np.arange(len(X)), e.support_)
    assert len(unused) and (effects[:, unused] == 0).all()
    assert (np.abs(effects).max(axis=0) > 0).sum() > len(e.support_) / 2
    with parallel_config(n_jobs=2):
        assert_array_equal(e.leave_one_out(X_test, X, y), effects)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_leave_one_out_sees_the_configuration_of_scikit_learn(n_jobs, monkeypatch):
    X, y, X_test, _ = problem(3, "dense64")
    e = fitted(3, "dense64")
    seen, solve = [], e._solve

    def spy(*args, **options):
        seen.append(get_config()["assume_finite"])
        return solve(*args, **options)

    monkeypatch.setattr(e, "_solve", spy)
    with config_context(assume_finite=True):
        e.leave_one_out(X_test, X, y, rows=e.support_[:4], n_jobs=n_jobs)
    assert len(seen) == 5 and all(seen)


@pytest.mark.parametrize("rows", [[80], [-1], [[1, 1]], [[]], [0.5], [np.arange(80)]])
def test_rows_that_cannot_be_left_out(rows):
    X, y, X_test, _ = problem(3, "dense64")
    with pytest.raises(ValueError, match="rows must be|rows must hold|no row of positive weight"):
        fitted(3, "dense64").leave_one_out(X_test, X, y, rows=rows)


def test_leave_one_out_takes_the_fitted_rows():
    X, y, X_test, _ = problem(3, "dense64")
    with pytest.raises(ValueError, match="must be the 80 rows given to fit"):
        fitted(3, "dense64").leave_one_out(X_test, X[1:], y[1:])


def test_a_warm_start_follows_C():
    X, y, _, _ = problem(3, "dense64")
    e = DualViewExplainer(C=0.01, warm_start=True, tol=1e-9, random_state=0).fit(X, y)
    cold = DualViewExplainer(C=0.02, tol=1e-9, random_state=0).fit(X, y)
    warm = e.set_params(C=0.02).fit(X, y)
    assert_allclose(warm.coef_, cold.coef_, atol=1e-4 * np.abs(cold.coef_).max())
    # at C near zero every dual is at its bound and follows it exactly
    e = DualViewExplainer(C=1e-9, warm_start=True, random_state=0).fit(X, y)
    dual = e.dual_coef_
    assert_allclose(e.set_params(C=2e-9).fit(X, y).dual_coef_, 2 * dual, rtol=1e-12)
