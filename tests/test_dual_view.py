"""DualViewExplainer and the scoring engine: completeness, sign, unit, certificate, every form.

Oracles are loops over the formulas (reference.py) on duals read from the public attributes.
Attributions of float32 rows are compared up to what float32 rounds in their terms (`rounding`).
"""

import pickle
import tracemalloc
import warnings
from functools import cache

import numpy as np
import pandas as pd
import polars as pl
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.datasets import load_digits, make_blobs
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils import compute_sample_weight

from skattrib import DualViewExplainer

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
    bias = float(e.fit_intercept)
    a, b = reference.dense(X_test), reference.dense(X)
    sizes = np.abs(a) @ np.abs(b).T + bias
    eps = np.finfo(X_test.dtype).eps
    return eps * (a.shape[1] + 4) * (np.abs(V) @ np.abs(logit_duals(e)).T) * sizes


layouts = pytest.mark.parametrize("layout", LAYOUTS)
n_classes = pytest.mark.parametrize("K", [2, 3, 70])
intercepts = pytest.mark.parametrize("fit_intercept", [True, False], ids=["bias", "nobias"])
forms = pytest.mark.parametrize("form", TARGETS)


# completeness, sign, unit


@layouts
@n_classes
@intercepts
@pytest.mark.parametrize("weighted", [False, True], ids=["ones", "weights"])
@pytest.mark.parametrize("max_iter", [1, 2, 5, 1000])
def test_rows_sum_to_the_output_at_every_stage(layout, K, fit_intercept, weighted, max_iter):
    X, _, X_test, _ = problem(K, layout)
    e = fitted(K, layout, fit_intercept, weighted, max_iter=max_iter)
    for target, V in targets(e, X_test).values():
        output = np.sum(V * logits(e, X_test), axis=1)
        T = reference.dense(e.attribute(X_test, target))
        allowed = 1e-12 * (K + 10) * np.abs(T).sum(axis=1)
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
        assert_allclose(e.attribute(X_test, label).sum(axis=1), expected, atol=1e-12)


def test_binary_weights_act_on_half_the_decision_value():
    _, _, X_test, _ = problem(2, "dense64")
    e = fitted(2, "dense64")
    f = e.decision_function(X_test)
    m = len(X_test)
    for v, expected in [((1, 0), -f / 2), ((0, 1), f / 2), ((-1, 1), f), ((1, 1), 0 * f)]:
        T = e.attribute(X_test, np.tile(np.array(v), (m, 1)))
        assert_allclose(T.sum(axis=1), expected, atol=1e-13)
    whole = e.attribute(X_test, "yes").toarray()
    assert_array_equal(e.attribute(X_test, np.tile([-1, 1], (m, 1))).toarray(), whole)
    assert_array_equal(e.attribute(X_test, "no").toarray(), -whole)


@layouts
@n_classes
@intercepts
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


@layouts
@n_classes
@intercepts
@forms
def test_attribute_is_the_formula(layout, K, fit_intercept, form):
    X, _, X_test, _ = problem(K, layout, True)
    e = fitted(K, layout, fit_intercept, True)
    target, V = targets(e, X_test)[form]
    expected = reference.attributions(logit_duals(e), X, X_test, V, fit_intercept)
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


@pytest.mark.parametrize("K", [2, 3])
def test_dense_when_asked(K):
    X, y, X_test, _ = problem(K, "csr32")
    e = DualViewExplainer(C=0.1, sparse_output=False, random_state=0).fit(X, y)
    T = e.transform(X_test)
    assert isinstance(T, np.ndarray) and T.dtype == np.float32
    assert_array_equal(T, fitted(K, "csr32").transform(X_test).toarray())
    assert_array_equal(T, e.attribute(X_test))
    assert_array_equal(T, e.attribute(X_test, e.predict(X_test)))


@pytest.mark.parametrize("K", [2, 3, 70])
def test_forms_of_labels(K):
    _, _, X_test, _ = problem(K, "dense64")
    e = fitted(K, "dense64")
    label = e.classes_[1]
    labels = np.repeat(label, len(X_test))
    expected = e.attribute(X_test, labels).toarray()
    assert np.abs(expected).max() > 0
    for form in (
        label,
        label.item(),
        labels.tolist(),
        tuple(labels),
        labels.astype(object),
        pd.Series(labels, index=labels),
        pl.Series(labels.tolist()),
    ):
        assert_array_equal(e.attribute(X_test, form).toarray(), expected)
    V = label_weights(e, labels)
    for form in (V, V.astype(int), V.tolist(), pd.DataFrame(V), pl.DataFrame(V), V.astype("f4")):
        assert_allclose(e.attribute(X_test, form).toarray(), expected, atol=1e-15)
    assert_allclose(e.attribute(X_test, sparse.csr_array(V)).toarray(), expected, atol=1e-15)


def test_rows_of_another_layout_than_the_training_rows():
    e = fitted(3, "dense64")
    expected = e.attribute(problem(3, "dense64")[2]).toarray()
    for train in LAYOUTS:
        for test in LAYOUTS:
            e, X_test = fitted(3, train), problem(3, test)[2]
            T = e.attribute(X_test)
            assert T.dtype == X_test.dtype
            assert_allclose(T.toarray(), expected, rtol=0, atol=1e-4)
            top = e.top_k(X_test, 4)
            assert top[0].dtype == X_test.dtype
            assert_array_equal(top[0], np.take_along_axis(T.toarray(), top[1], axis=1))
            assert e.decompose(X_test, top[1]).dtype == X_test.dtype


def test_out_may_be_any_writable_array(tmp_path):
    _, _, X_test, _ = problem(3, "dense64")
    e = fitted(3, "dense64")
    expected = e.attribute(X_test, 4).toarray()
    m, n = expected.shape
    mapped = np.memmap(tmp_path / "T", dtype=np.float64, mode="w+", shape=(m, n))
    for out in (mapped, np.full((m, n), 7.0), np.full((2 * m, n), np.nan)[5 : 5 + m]):
        assert e.attribute(X_test, 4, out=out) is out
        assert_array_equal(out, expected)
    mapped.flush()
    assert_array_equal(np.fromfile(tmp_path / "T").reshape(m, n), expected)


@pytest.mark.parametrize(
    "out",
    [
        np.empty((11, 79)),
        np.empty((80, 11)),
        np.empty(880),
        np.empty((11, 80), dtype=np.float32),
        np.empty((11, 80), dtype=int),
        [[0.0] * 80] * 11,
    ],
    ids=["width", "transposed", "flat", "float32", "int", "list"],
)
def test_out_that_does_not_fit(out):
    with pytest.raises(ValueError, match=r"\(11, 80\) and type float64"):
        fitted(3, "dense64").attribute(problem(3, "dense64")[2], out=out)


def test_out_that_cannot_be_written():
    out = np.zeros((11, 80))
    out.flags.writeable = False
    with pytest.raises(ValueError, match="writeable"):
        fitted(3, "dense64").attribute(problem(3, "dense64")[2], out=out)
    out = np.zeros((11, 80), order="F")
    with pytest.raises(ValueError, match="C order"):
        fitted(3, "dense64").attribute(problem(3, "dense64")[2], out=out)


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
    expected = (V @ logit_duals(e).T) * (reference.dense(X_test) @ X.T + 1)
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


# top_k


@layouts
@n_classes
@forms
@pytest.mark.parametrize("largest", [True, False])
def test_top_k_is_a_stable_sort(layout, K, form, largest):
    _, _, X_test, _ = problem(K, layout)
    e = fitted(K, layout, True, True)
    target, _ = targets(e, X_test)[form]
    T = reference.dense(
        e.attribute(X_test, target, out=np.empty((X_test.shape[0], e.n_samples_fit_), X_test.dtype))
    )
    order = np.argsort(-T if largest else T, axis=1, kind="stable")
    for k in (1, 2, 13, e.n_samples_fit_ - 1, e.n_samples_fit_):
        values, rows = e.top_k(X_test, k, target=target, largest=largest)
        assert values.shape == rows.shape == (X_test.shape[0], k)
        assert values.dtype == X_test.dtype and rows.dtype.kind == "i"
        assert_array_equal(rows, order[:, :k])
        assert_array_equal(values, np.take_along_axis(T, order[:, :k], axis=1))
        assert not np.signbit(values[values == 0]).any()


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_top_k_with_ties_and_zeros(fit_intercept, largest):
    rng = np.random.default_rng(1)
    X = np.repeat(rng.integers(-1, 2, size=(12, 2)), 4, axis=0).astype(np.float64)
    y = rng.integers(0, 3, size=48)
    weight = rng.integers(0, 2, size=48)
    e = DualViewExplainer(C=0.5, fit_intercept=fit_intercept, random_state=0).fit(X, y, weight)
    X_test = np.vstack([np.zeros(2), X[::5]])
    T = e.attribute(X_test, 1).toarray()
    assert len(np.unique(T)) < T.size / 4 and (T == 0).mean() > 0.2
    order = np.argsort(-T if largest else T, axis=1, kind="stable")
    for k in range(1, 49):
        values, rows = e.top_k(X_test, k, target=1, largest=largest)
        assert_array_equal(rows, order[:, :k])
        assert_array_equal(values, np.take_along_axis(T, order[:, :k], axis=1))


@pytest.mark.parametrize("k", [0, -1, 81, 2.0, True, None, "3"])
def test_k_out_of_range(k):
    with pytest.raises(ValueError, match=r"k must be an integer in 1\.\.80"):
        fitted(3, "dense64").top_k(problem(3, "dense64")[2], k)


def peak(function, *args, **options):
    tracemalloc.start()
    try:
        result = function(*args, **options)
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("layout", ["dense64", "csr64"])
@pytest.mark.parametrize("form", ["predicted", "weights"])
def test_top_k_never_builds_the_matrix(layout, form):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(5000, 8)), rng.integers(0, 3, size=5000)
    e = short(DualViewExplainer(C=1e-4, random_state=0), laid_out(X, layout), y)
    assert len(e.support_) == 5000
    X_test = laid_out(rng.normal(size=(2000, 8)), layout)
    target, V = targets(e, X_test)[form]
    (values, rows), memory = peak(e.top_k, X_test, 5, target=target)
    # the matrix takes 80 MB; a block of 256 x 2048, its coefficients and products 4 MB each
    assert memory < 30e6
    some = slice(0, 2000, 100)
    T = (V[some] @ logit_duals(e).T) * (reference.dense(X_test)[some] @ X.T + 1)
    assert_array_equal(rows[some], np.argsort(-T, axis=1)[:, :5])
    assert_allclose(values[some], -np.sort(-T, axis=1)[:, :5], rtol=1e-9, atol=1e-15)


def test_aggregate_never_builds_the_matrix():
    e, _, X_test = large()
    _, memory = peak(e.aggregate, X_test, 1)
    assert memory < 2e6  # the matrix takes 6 MB


# aggregate, decompose, target_weights


@layouts
@n_classes
@intercepts
@forms
def test_aggregate_is_the_weighted_sum(layout, K, fit_intercept, form):
    X, _, X_test, _ = problem(K, layout)
    e = fitted(K, layout, fit_intercept)
    target, V = targets(e, X_test)[form]
    T = (V @ logit_duals(e).T) * (
        reference.dense(X_test) @ reference.dense(X).T + float(fit_intercept)
    )
    weights = np.random.default_rng(0).normal(size=X_test.shape[0])
    for w in (None, weights, weights.tolist(), np.zeros(X_test.shape[0])):
        total = e.aggregate(X_test, target, weights=w)
        assert total.dtype == np.float64 and total.shape == (e.n_samples_fit_,)
        expected = T.sum(axis=0) if w is None else np.array(w) @ T
        assert_allclose(total, expected, rtol=0, atol=1e-12 * np.abs(T).sum())


@pytest.mark.parametrize("weights", [np.ones(3), np.ones((11, 1)), [np.nan] * 11, 2.0])
def test_weights_of_aggregate_that_do_not_fit(weights):
    with pytest.raises(ValueError, match="11 finite numbers"):
        fitted(3, "dense64").aggregate(problem(3, "dense64")[2], weights=weights)


@layouts
@n_classes
@intercepts
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
    assert shares.shape == (*rows.shape, X.shape[1]) and shares.dtype == X_test.dtype
    expected = np.take_along_axis(
        reference.decompose(alpha, X, X_test, V), rows[:, :, None], axis=1
    )
    assert_allclose(shares, expected, rtol=20 * np.finfo(X.dtype).eps, atol=1e-15)
    assert (shares[:2, 0] == 0).all() and (shares[1] == 0).all()
    assert shares[3, 0].any() == whole[3].any()
    bias = np.take_along_axis(V @ alpha.T, rows, axis=1) * float(fit_intercept)
    T = np.take_along_axis(whole, rows, axis=1)
    allowed = 2 * np.take_along_axis(rounding(e, X, X_test, V), rows, axis=1)
    assert (np.abs(shares.sum(axis=2) + bias - T) <= allowed).all()


@pytest.mark.parametrize(
    "indices",
    [
        np.zeros(11, dtype=int),
        np.zeros((10, 2), dtype=int),
        np.zeros((11, 2)),
        np.zeros((11, 2), dtype=bool),
        np.zeros((11, 2, 1), dtype=int),
        np.full((11, 2), -1),
        np.full((11, 2), 80),
        [["0"]] * 11,
    ],
    ids=["flat", "rows", "floats", "bools", "cube", "negative", "beyond", "strings"],
)
def test_indices_of_decompose_that_do_not_fit(indices):
    with pytest.raises(ValueError, match=r"indices must be (integers of shape \(11, k\)|training)"):
        fitted(3, "dense64").decompose(problem(3, "dense64")[2], indices)


def test_decompose_takes_any_integers():
    e, X_test = fitted(3, "dense64"), problem(3, "dense64")[2]
    rows = e.top_k(X_test, 2)[1]
    expected = e.decompose(X_test, rows)
    for form in (rows.astype(np.uint8), rows.tolist(), np.asfortranarray(rows)):
        assert_array_equal(e.decompose(X_test, form), expected)
    assert e.decompose(X_test, rows[:, :0]).shape == (11, 0, 6)


@layouts
@n_classes
def test_target_weights(layout, K):
    X, _, X_test, _ = problem(K, layout)
    e = fitted(K, layout)
    f = logits(e, X_test)
    m = X_test.shape[0]
    for y in (None, e.classes_[1], e.classes_[np.arange(m) % K]):
        labels = e.predict(X_test) if y is None else np.broadcast_to(y, m)
        codes = np.searchsorted(e.classes_, labels)
        own = f[np.arange(m), codes]
        rivals = np.where(np.eye(K, dtype=bool)[codes], -np.inf, f).max(axis=1)
        logit = 2 * own if K == 2 else own
        for output, expected in [("logit", logit), ("margin", own - rivals)]:
            V = e.target_weights(X_test, output, y)
            assert V.shape == (m, K) and V.dtype == np.float64
            assert_allclose(np.sum(V * f, axis=1), expected, rtol=1e-12, atol=1e-15)
            total = reference.dense(e.attribute(X_test, V)).sum(axis=1)
            allowed = rounding(e, X, X_test, V).sum(axis=1) + 1e-14
            assert (np.abs(total - expected) <= allowed).all()
        assert_array_equal(V.sum(axis=1), 0.0)
        assert_array_equal(e.target_weights(X_test, y=y), label_weights(e, labels))


def test_outputs_that_do_not_exist():
    e, X_test = fitted(3, "dense64"), problem(3, "dense64")[2]
    with pytest.raises(ValueError, match="'logit', 'margin'"):
        e.target_weights(X_test, "probability")
    with pytest.raises(ValueError, match="one label or one label a row"):
        e.target_weights(X_test, y=np.ones((11, 3)))
    with pytest.raises(ValueError, match="not one of the classes"):
        e.target_weights(X_test, y=5)


BAD_TARGETS = {
    "label": (5, r"target 5 is not one of the classes \[-1, 4, 7\]"),
    "nan": (np.nan, "not one of the classes"),
    "between": (4.5, "target 4.5 is not one"),
    "string": ("4", "target '4' is not one"),
    "one of many": ([4] * 10 + [5], "target 5 is not one"),
    "mixed": (np.array([4] * 10 + ["x"], dtype=object), "target 'x' is not one"),
    "missing": (np.array([4] * 10 + [None], dtype=object), "target None is not one"),
    "too few": ([4] * 3, r"target has 3 labels but X has 11 rows.*\(11, 3\)"),
    "empty": ([], "target has 0 labels"),
    "width": (np.ones((11, 2)), r"shape \(11, 3\), got \(11, 2\)"),
    "column": (np.ones((11, 1)), r"shape \(11, 3\), got \(11, 1\)"),
    "height": (np.ones((3, 3)), r"shape \(11, 3\), got \(3, 3\)"),
    "cube": (np.ones((11, 3, 1)), r"shape \(11, 3\)"),
    "sparse": (sparse.csr_array(np.ones((3, 3))), r"shape \(11, 3\)"),
    "infinite": (np.full((11, 3), np.inf), "finite"),
}


@pytest.mark.parametrize("name", BAD_TARGETS)
@pytest.mark.parametrize(
    "method", ["attribute", "aggregate", "top_k", "decompose", "decision_error_bound"]
)
def test_bad_targets(name, method):
    e, X_test = fitted(3, "dense64"), problem(3, "dense64")[2]
    target, message = BAD_TARGETS[name]
    args = (np.zeros((11, 1), dtype=int),) if method == "decompose" else ()
    with pytest.raises(ValueError, match=message):
        getattr(e, method)(X_test, *args, target=target)


def test_numbers_are_no_labels_of_strings():
    with pytest.raises(ValueError, match=r"target 1 is not one of the classes \['no', 'yes'\]"):
        fitted(2, "dense64").attribute(problem(2, "dense64")[2], 1)


# what fit leaves


@layouts
@n_classes
@intercepts
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


@layouts
@n_classes
@intercepts
def test_self_influence_is_the_diagonal(layout, K, fit_intercept):
    X, y, _, _ = problem(K, layout, True)
    e = fitted(K, layout, fit_intercept, True)
    T = reference.dense(e.attribute(X, y))
    assert e.self_influence_.dtype == np.float64
    assert_allclose(e.self_influence_, np.diag(T), rtol=20 * np.finfo(X.dtype).eps, atol=1e-15)
    scale = 2 if K == 2 else 1
    codes = np.searchsorted(e.classes_, y)
    expected = reference.self_influence(scale * logit_duals(e), X, codes, fit_intercept)
    assert_allclose(e.self_influence_, expected, rtol=1e-13, atol=1e-15)


# the certificate


@pytest.mark.parametrize("layout", ["dense64", "dense32", "csr64"])
@pytest.mark.parametrize("K", [2, 3])
@intercepts
@pytest.mark.parametrize("weighted", [False, True], ids=["ones", "weights"])
@pytest.mark.parametrize("C", [1e-3, 0.03, 0.3])
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
def test_equal_rows_have_equal_attributions(layout, K):
    X, y, X_test, _ = problem(K, layout)
    stacked = (sparse.vstack if sparse.issparse(X) else np.vstack)([X, X])
    stacked = sparse.csr_array(stacked) if sparse.issparse(X) else stacked
    n = X.shape[0]
    e = DualViewExplainer(C=0.05, random_state=0).fit(stacked, np.tile(y, 2))
    T = e.attribute(X_test).toarray()
    assert_allclose(T[:, :n], T[:, n:], rtol=1e-6 if X.dtype == np.float32 else 1e-13)
    # each row by the share of its weight
    weight = np.repeat([1.0, 3.0], n)
    e = DualViewExplainer(C=0.05, random_state=0).fit(stacked, np.tile(y, 2), weight)
    T = e.attribute(X_test).toarray()
    assert_allclose(3 * T[:, :n], T[:, n:], rtol=1e-6 if X.dtype == np.float32 else 1e-13)
    assert_array_equal(e.n_samples_fit_, 2 * n)


def assert_same_head(a, b, X_test):
    """Outputs of two fits of one problem, as close as their certificates say."""
    for label in a.classes_:
        V = label_weights(a, [label] * X_test.shape[0])
        error = np.abs(np.sum(V * (logits(a, X_test) - logits(b, X_test)), axis=1))
        bound = a.decision_error_bound(X_test, V) + b.decision_error_bound(X_test, V)
        assert (error <= bound + 1e-12).all()


@layouts
@n_classes
def test_rows_of_weight_zero_contribute_nothing(layout, K):
    X, y, X_test, weight = problem(K, layout, True)
    e = fitted(K, layout, True, True, tol=1e-7, max_iter=20000)
    assert_array_equal(reference.dense(e.attribute(X_test))[:, weight == 0], 0)
    assert_array_equal(e.self_influence_[weight == 0], 0)
    kept = np.flatnonzero(weight)
    without = DualViewExplainer(C=0.1, tol=1e-7, max_iter=20000)
    without.fit(X[kept], y[kept], weight[kept])
    if K < 70:  # there some classes have no row left
        assert_same_head(e, without, X_test)


def test_a_class_whose_rows_all_have_weight_zero():
    X, y, X_test, _ = problem(3, "dense64")
    e = DualViewExplainer(random_state=0).fit(X, y, y != 4)
    assert_array_equal(e.classes_, [-1, 4, 7])
    for label in e.classes_:
        T = e.attribute(X_test, label).toarray()
        assert (T[:, y == 4] == 0).all()
        assert_array_equal(e.top_k(X_test, 1, target=label)[0][:, 0], T.max(axis=1))
        f = e.decision_function(X_test)[:, np.searchsorted(e.classes_, label)]
        assert_allclose(T.sum(axis=1), f, atol=1e-13)


@pytest.mark.parametrize("K", [2, 3])
def test_class_weight_multiplies_sample_weight(K):
    X, y, X_test, weight = problem(K, "dense64", True)
    labels = LABELS[K]
    given = {labels[0]: 3.0, labels[1]: 0.5}
    for class_weight in (given, "balanced"):
        s = compute_sample_weight(class_weight, y)
        assert len(np.unique(s)) > 1
        for w in (None, weight):
            a = DualViewExplainer(C=0.1, class_weight=class_weight, random_state=0).fit(X, y, w)
            b = DualViewExplainer(C=0.1, random_state=0).fit(X, y, s if w is None else s * w)
            assert_array_equal(a.attribute(X_test).toarray(), b.attribute(X_test).toarray())
        plain = fitted(K, "dense64", True, True)
        assert np.abs(a.decision_function(X_test) - plain.decision_function(X_test)).max() > 1e-3


def test_weights_scale_like_C():
    X, y, X_test, _ = problem(3, "dense64")
    a = DualViewExplainer(C=0.2, random_state=0).fit(X, y)
    b = DualViewExplainer(C=0.1, random_state=0).fit(X, y, np.full(len(y), 2.0))
    c = DualViewExplainer(C=0.1, random_state=0).fit(X, y, 2)
    assert_array_equal(a.coef_, b.coef_)
    assert_array_equal(b.attribute(X_test).toarray(), c.attribute(X_test).toarray())


@layouts
@n_classes
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
    assert (np.abs(T.sum(axis=1) - np.sum(V * logits(e, X_test), axis=1)) <= allowed).all()
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


def test_seeds():
    X, y, X_test, _ = problem(3, "dense64")
    a, b, c = (DualViewExplainer(C=0.1, random_state=s).fit(X, y) for s in (0, 0, 1))
    assert_array_equal(a.attribute(X_test).toarray(), b.attribute(X_test).toarray())
    assert_array_equal(a.dual_coef_, b.dual_coef_)
    assert_same_head(a, c, X_test)
    state = DualViewExplainer(C=0.1, random_state=np.random.RandomState(0)).fit(X, y)
    assert_array_equal(a.coef_, state.coef_)


# inputs


def test_read_only_memory_maps_are_not_copied(tmp_path):
    X, y = make_blobs(n_samples=40_000, n_features=100, centers=3, random_state=0)
    for dtype in (np.float64, np.float32):
        np.save(tmp_path / "X.npy", (X / 20).astype(dtype))
        mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
        e, memory = peak(DualViewExplainer(C=1.0, tol=1e-2, random_state=0).fit, mapped, y)
        support = e.support_vectors_.nbytes
        assert not isinstance(e.support_vectors_, np.memmap)
        # besides what it keeps: at most 200 bytes a row, and no block the size of X
        assert memory - support < 200 * len(y) + 2e6 < 0.7 * mapped.nbytes
        assert_array_equal(e.predict(mapped[:100]), y[:100])
        _, memory = peak(e.decision_function, mapped)
        assert memory < mapped.nbytes / 2
        _, memory = peak(e.decision_error_bound, mapped)
        assert memory < mapped.nbytes / 2


def disordered(X):
    """The same matrix with columns out of order and entries split in two."""
    rng = np.random.default_rng(0)
    X = sparse.csr_array(X)
    data, indices, indptr = [], [], [0]
    for i in range(X.shape[0]):
        part = slice(X.indptr[i], X.indptr[i + 1])
        values = np.concatenate([X.data[part] / 2, X.data[part] / 2])
        columns = np.concatenate([X.indices[part], X.indices[part]])
        order = rng.permutation(len(values))
        data.append(values[order])
        indices.append(columns[order])
        indptr.append(indptr[-1] + len(values))
    return np.concatenate(data), np.concatenate(indices), np.array(indptr)


@pytest.mark.parametrize("kind", [sparse.csr_array, sparse.csr_matrix])
def test_sparse_rows_in_disorder_stay_as_they_are(kind):
    X, y, X_test, _ = problem(3, "csr64")
    expected = fitted(3, "csr64")
    matrices = []
    for A in (X, X_test):
        parts = disordered(A)
        before = [part.copy() for part in parts]
        matrices.append((kind(parts, shape=A.shape), before))
    (train, _), (test, _) = matrices
    e = DualViewExplainer(C=0.1, random_state=0).fit(train, y)
    T = e.attribute(test)
    rows = e.top_k(test, 3)[1]
    shares = e.decompose(test, rows)
    e.aggregate(test), e.decision_error_bound(test), e.target_weights(test, "margin")
    assert_allclose(T.toarray(), expected.attribute(X_test).toarray(), atol=1e-14)
    assert_allclose(shares, expected.decompose(X_test, rows), atol=1e-14)
    for A, before in matrices:
        for now, then in zip((A.data, A.indices, A.indptr), before, strict=True):
            assert_array_equal(now, then)


@pytest.mark.parametrize("form", ["csc", "coo", "lil", "bsr", "dia", "dok"])
def test_other_sparse_formats(form):
    X, y, X_test, _ = problem(3, "csr64")
    e = DualViewExplainer(C=0.1, random_state=0).fit(X.asformat(form), y)
    expected = fitted(3, "csr64").attribute(X_test).toarray()
    assert_array_equal(e.attribute(X_test.asformat(form)).toarray(), expected)


def test_64_bit_indices_and_stored_zeros():
    X, y, X_test, _ = problem(3, "csr64")
    wide = sparse.csr_array(
        (X.data, X.indices.astype(np.int64), X.indptr.astype(np.int64)), shape=X.shape
    )
    full = sparse.csr_array(
        (
            reference.dense(X).ravel(),
            np.tile(np.arange(X.shape[1]), X.shape[0]),
            np.arange(X.shape[0] + 1) * X.shape[1],
        ),
        shape=X.shape,
    )
    assert full.nnz > X.nnz
    expected = fitted(3, "csr64").attribute(X_test).toarray()
    for A in (wide, full):
        e = DualViewExplainer(C=0.1, random_state=0).fit(A, y)
        assert_allclose(e.attribute(X_test).toarray(), expected, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.int8, np.int64, np.uint8, bool, object, ">f8"])
def test_other_number_types(dtype):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, size=(40, 5)) if dtype is bool else rng.integers(0, 9, size=(40, 5))
    y = np.arange(40) % 3
    expected = DualViewExplainer(C=0.01, random_state=0).fit(X.astype(np.float64), y)
    X = X.astype(dtype)
    e = DualViewExplainer(C=0.01, random_state=0).fit(X, y)
    T = e.attribute(X)
    assert T.dtype == np.float64
    assert_array_equal(T.toarray(), expected.attribute(X.astype(np.float64)).toarray())


@pytest.mark.parametrize("order", ["F", "strided"])
def test_other_orders_of_memory(order):
    X, y, X_test, _ = problem(3, "dense64")
    wide = np.full((X.shape[0], 2 * X.shape[1]), np.nan)
    wide[:, ::2] = X
    A = np.asfortranarray(X) if order == "F" else wide[:, ::2]
    e = DualViewExplainer(C=0.1, random_state=0).fit(A, y)
    assert_array_equal(e.coef_, fitted(3, "dense64").coef_)
    rows = A[:5]
    expected = e.attribute(np.ascontiguousarray(rows)).toarray()
    assert_array_equal(e.attribute(rows).toarray(), expected)


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_frames(frame):
    X, y, X_test, weight = problem(2, "dense64", True)
    names = [f"f{i}" for i in range(X.shape[1])]
    series = pd.Series if frame is pd.DataFrame else pl.Series

    def framed(A):
        return frame({name: A[:, i] for i, name in enumerate(names)})

    e = DualViewExplainer(C=0.1, class_weight="balanced", random_state=0)
    e.fit(framed(X), series(y.tolist()), series(weight))
    plain = DualViewExplainer(C=0.1, class_weight="balanced", random_state=0).fit(X, y, weight)
    assert_array_equal(e.feature_names_in_, names)
    expected = plain.attribute(X_test).toarray()
    assert_array_equal(e.attribute(framed(X_test)).toarray(), expected)
    with pytest.raises(ValueError, match="feature names should match"):
        e.predict(
            framed(X_test).rename({"f0": "g0"}, **({"axis": 1} if frame is pd.DataFrame else {}))
        )


@pytest.mark.parametrize(
    "y",
    [
        list("ab" * 20),
        np.array(list("ab" * 20), dtype=object),
        pd.Series(list("ab" * 20), dtype="category"),
        np.arange(40) % 2 == 1,
        (np.arange(40) % 2).astype(np.float64),
        np.arange(40) % 2 * 2**60,
    ],
    ids=["list", "object", "category", "bool", "float", "large"],
)
def test_kinds_of_labels(y):
    X = np.random.default_rng(0).normal(size=(40, 4))
    e = DualViewExplainer(class_weight="balanced", random_state=0).fit(X, y)
    expected = DualViewExplainer(random_state=0).fit(X, np.arange(40) % 2)
    assert_array_equal(e.decision_function(X), expected.decision_function(X))
    assert_array_equal(e.predict(X), e.classes_[expected.predict(X)])
    f = e.decision_function(X)
    assert_allclose(e.attribute(X, e.classes_[0]).sum(axis=1), -f, atol=1e-13)


X3, Y3 = np.random.default_rng(0).normal(size=(9, 2)), np.arange(9) % 3
BAD_FITS = {
    "nan": ({"X": np.where(np.eye(9, 2) == 1, np.nan, X3)}, "X contains NaN"),
    "inf": ({"X": np.where(np.eye(9, 2) == 1, np.inf, X3)}, "X contains infinity"),
    "too large": ({"X": X3 * 1e200}, "scale"),
    "sparse nan": ({"X": sparse.csr_array(np.full((9, 2), np.nan))}, "X contains NaN"),
    "flat": ({"X": X3[:, 0]}, "Reshape your data"),
    "strings": ({"X": X3.astype(str).astype(object) + "x"}, "could not convert string to float"),
    "complex": ({"X": X3 + 1j}, "Complex data not supported"),
    "no rows": ({"X": X3[:0], "y": Y3[:0]}, r"0 sample\(s\)"),
    "no features": ({"X": X3[:, :0]}, r"0 feature\(s\)"),
    "one class": ({"y": Y3 * 0}, "at least 2 classes, but y contains only one class: 0"),
    "short y": ({"y": Y3[:3]}, "inconsistent numbers of samples"),
    "y matrix": ({"y": np.ones((9, 2), dtype=int)}, "1d array"),
    "y nan": ({"y": np.where(Y3 == 0, np.nan, Y3)}, "y contains NaN"),
    "y none": ({"y": None}, "requires y to be passed"),
    "continuous y": ({"y": X3[:, 0]}, "continuous"),
    "negative weights": ({"sample_weight": -np.ones(9)}, "sample_weight.*negative nowhere"),
    "zero weights": ({"sample_weight": np.zeros(9)}, "at least one non-zero"),
    "nan weights": ({"sample_weight": np.full(9, np.nan)}, "sample_weight contains NaN"),
    "short weights": ({"sample_weight": np.ones(3)}, r"sample_weight.shape == \(3,\)"),
    "weight matrix": ({"sample_weight": np.ones((9, 1))}, "1D array"),
}
BAD_PARAMETERS = {
    "negative C": ({"C": -1.0}, "'C' parameter"),
    "infinite C": ({"C": np.inf}, "'C' parameter"),
    "string C": ({"C": "1"}, "'C' parameter"),
    "zero tol": ({"tol": 0}, "'tol' parameter"),
    "zero max_iter": ({"max_iter": 0}, "'max_iter' parameter"),
    "fractional max_iter": ({"max_iter": 1.5}, "'max_iter' parameter"),
    "fit_intercept": ({"fit_intercept": "yes"}, "'fit_intercept' parameter"),
    "class_weight name": ({"class_weight": "equal"}, "'class_weight' parameter.*'balanced'"),
    "class_weight label": ({"class_weight": {5: 1.0}}, "class_weight"),
    "class_weight negative": ({"class_weight": {0: -1.0}}, "class_weight must be finite, negative"),
    "class_weight nan": ({"class_weight": {0: np.nan}}, "class_weight must be finite"),
    "class_weight zero": ({"class_weight": {0: 0, 1: 0, 2: 0}}, "positive for some rows"),
    "sparse_output": ({"sparse_output": None}, "'sparse_output' parameter"),
    "warm_start": ({"warm_start": 2}, "'warm_start' parameter"),
    "random_state": ({"random_state": "a"}, "'random_state' parameter"),
    "verbose": ({"verbose": -1}, "'verbose' parameter"),
}


@pytest.mark.parametrize("name", BAD_FITS)
def test_fit_refuses(name):
    data, message = BAD_FITS[name]
    e = DualViewExplainer()
    with pytest.raises(ValueError, match=message):
        e.fit(**{"X": X3, "y": Y3} | data)
    # nor does it count as fitted then
    with pytest.raises(NotFittedError):
        e.predict(X3)


@pytest.mark.parametrize("name", BAD_PARAMETERS)
def test_fit_refuses_parameters(name):
    parameters, message = BAD_PARAMETERS[name]
    with pytest.raises(ValueError, match=message):
        DualViewExplainer(**parameters).fit(X3, Y3)


def test_unknown_parameters():
    with pytest.raises(TypeError, match="foo"):
        DualViewExplainer(foo=1)
    with pytest.raises(ValueError, match="'foo'"):
        DualViewExplainer().set_params(foo=1)
    with pytest.raises(TypeError):
        DualViewExplainer(1.0, True)


METHODS = {
    "predict": (),
    "decision_function": (),
    "score": (np.zeros(11),),
    "transform": (),
    "attribute": (),
    "aggregate": (),
    "top_k": (),
    "decompose": (np.zeros((11, 1), dtype=int),),
    "target_weights": (),
    "decision_error_bound": (),
}


def test_methods_are_all_listed():
    names = {
        name
        for name in dir(DualViewExplainer)
        if not name.startswith(("_", "fit", "get_", "set_")) and not name.endswith("_")
    }
    assert names == METHODS.keys()


@pytest.mark.parametrize("method", METHODS)
def test_before_fit(method):
    X_test = problem(3, "dense64")[2]
    with pytest.raises(NotFittedError, match="Call 'fit'"):
        getattr(DualViewExplainer(), method)(X_test, *METHODS[method])


def test_attributes_before_fit():
    with pytest.raises(NotFittedError, match="Call 'fit'"):
        _ = DualViewExplainer().self_influence_
    with pytest.raises(NotFittedError):
        DualViewExplainer().get_feature_names_out()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layout", ["dense64", "csr64"])
def test_rows_that_do_not_fit(method, layout):
    e, X_test = fitted(3, layout), problem(3, layout)[2]

    def call(X):
        return getattr(e, method)(X, *METHODS[method])

    with pytest.raises(ValueError, match="X has 2 features, but DualViewExplainer is expecting 6"):
        call(X_test[:, :2])
    bad = X_test.copy()
    (bad.data if sparse.issparse(bad) else bad)[0] = np.nan
    with pytest.raises(ValueError, match="X contains NaN"):
        call(bad)
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        call(X_test[:0])


# the rest


@layouts
def test_fit_transform_is_transform_after_fit(layout):
    X, y, _, weight = problem(3, layout, True)
    options = {"C": 0.1, "random_state": 0, "sparse_output": False}
    both = DualViewExplainer(**options).fit_transform(X, y, sample_weight=weight)
    one = DualViewExplainer(**options).fit(X, y, weight).transform(X)
    assert both.shape == (80, 80)
    assert_array_equal(both, one)


@n_classes
@pytest.mark.parametrize("layout", ["dense32", "csr64"])
def test_pickle(K, layout):
    X, _, X_test, _ = problem(K, layout)
    e = fitted(K, layout)
    copy = pickle.loads(pickle.dumps(e))
    assert_array_equal(copy.attribute(X_test).toarray(), e.attribute(X_test).toarray())
    assert_array_equal(copy.self_influence_, e.self_influence_)
    assert_array_equal(copy.decision_error_bound(X_test), e.decision_error_bound(X_test))


def test_fit_leaves_its_arguments_alone():
    X, y, X_test, weight = (np.array(a) for a in problem(3, "dense64", True))
    before = [a.copy() for a in (X, y, X_test, weight)]
    for a in (X, y, X_test, weight):
        a.flags.writeable = False
    e = DualViewExplainer(C=0.1).fit(X, y, weight)
    e.attribute(X_test, e.target_weights(X_test, "margin"))
    e.top_k(X_test), e.aggregate(X_test), e.decision_error_bound(X_test)
    for a, b in zip((X, y, X_test, weight), before, strict=True):
        assert_array_equal(a, b)
    # and what was fitted does not follow them
    T = e.attribute(X_test).toarray()
    X.flags.writeable = True
    X[:] = 0
    assert_array_equal(e.attribute(X_test).toarray(), T)


def test_extreme_problems():
    X, y, X_test, _ = problem(3, "dense64")
    # nothing can be said without features, and nothing is said
    e = DualViewExplainer(fit_intercept=False).fit(0 * X, y)
    assert np.abs(e.attribute(X_test).toarray()).max() == 0
    assert_array_equal(e.top_k(X_test, 3)[1], [[0, 1, 2]] * 11)
    # two rows
    e = DualViewExplainer().fit(X[:2], [0, 1])
    assert e.attribute(X_test).shape == (11, 2) and e.top_k(X_test, 2)[0].shape == (11, 2)
    # a kernel without rows, and still every method answers
    e = DualViewExplainer().fit(X, y)
    e.support_, e.support_vectors_, e.dual_coef_ = e.support_[:0], X[:0], e.dual_coef_[:, :0]
    T = e.attribute(X_test).toarray()
    assert np.isfinite(T).all()
    assert_array_equal(e.top_k(X_test, 80)[0], -np.sort(-T, axis=1))
    assert e.decompose(X_test, np.zeros((11, 1), dtype=int)).shape == (11, 1, 6)
    assert e.aggregate(X_test).shape == e.self_influence_.shape == (80,)
    for scale in (1e-6, 1e-100):
        e = DualViewExplainer(fit_intercept=False).fit(X * scale, y)
        T = e.attribute(X_test * scale)
        f = e.decision_function(X_test * scale).max(axis=1)
        assert_allclose(T.sum(axis=1), f, rtol=1e-12)
        assert (f > 0).any()


def test_parameters_set_after_fit_wait_for_the_next_fit():
    X, y, X_test, _ = problem(3, "dense64")
    e = DualViewExplainer(C=0.1, random_state=0).fit(X, y)
    T, bound = e.attribute(X_test).toarray(), e.decision_error_bound(X_test)
    e.set_params(fit_intercept=False, C=5.0, class_weight="balanced")
    assert_array_equal(e.attribute(X_test).toarray(), T)
    assert_array_equal(e.decision_error_bound(X_test), bound)


def test_verbose_prints_and_silence_does_not(capsys):
    DualViewExplainer(C=0.01).fit(X3, Y3)
    assert capsys.readouterr().out == ""
    DualViewExplainer(C=0.01, verbose=1).fit(X3, Y3)
    assert "relative gap" in capsys.readouterr().out
