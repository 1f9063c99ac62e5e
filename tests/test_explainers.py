"""What all explainers share: the public contract of DESIGN.md, for every way to set one up.

Values are checked against papers in each explainer's own module; here they only have to agree
with each other. Features are multiples of 1/8, so that float32 and float64 rows are equal.
"""

import copy
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
from scipy.special import log_softmax, softmax
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.utils import compute_sample_weight
from sklearn.utils.validation import has_fit_parameter

from skattrib import (
    DualViewExplainer,
    ExemplarSVMExplainer,
    InfluenceExplainer,
    LinearHead,
    RepresenterExplainer,
    SimilarityExplainer,
)
from skattrib.explainers import _scoring as scoring

# classifiers are fitted to the same rows, and frozen; tolerances so that fits agree
LOGISTIC = LogisticRegression(C=0.5, solver="newton-cholesky", tol=1e-10)
FOREST = RandomForestClassifier(5, max_depth=3, random_state=0)
EXPLAINERS = {
    "DualView": DualViewExplainer(C=0.1, tol=1e-6, max_iter=20000, random_state=0),
    "Representer": RepresenterExplainer(C=0.5, tol=1e-10),
    "Representer-forest": RepresenterExplainer(FOREST, C=0.5, tol=1e-10),
    "Influence": InfluenceExplainer(C=0.5, inverse="cholesky"),
    "Influence-ekfac": InfluenceExplainer(C=0.5, inverse="ekfac"),
    "Influence-frozen": InfluenceExplainer(LOGISTIC),
    "dot": SimilarityExplainer(),
    "cosine": SimilarityExplainer(metric="cosine"),
    "euclidean": SimilarityExplainer(metric="euclidean"),
    "same_class": SimilarityExplainer(same_class=True),
    "ExemplarSVM": ExemplarSVMExplainer(tol=1e-8, random_state=0),
    "ExemplarSVM-same_class": ExemplarSVMExplainer(same_class=True, tol=1e-8, random_state=0),
}
HEADS = [name for name, e in EXPLAINERS.items() if hasattr(e, "decision_function")]
WEIGHTED = [name for name, e in EXPLAINERS.items() if has_fit_parameter(e, "sample_weight")]
SPARSE = [name for name, e in EXPLAINERS.items() if hasattr(e, "sparse_output")]
SAME_CLASS = [name for name, e in EXPLAINERS.items() if getattr(e, "same_class", False)]
OWN_HEAD = [name for name in WEIGHTED if name != "Influence-frozen"]

LAYOUTS = ("dense32", "dense64", "csr32", "csr64")
LABELS = {2: np.array(["no", "yes"]), 3: np.array([-1, 4, 7]), 70: np.arange(70) * 2}

each = pytest.mark.parametrize("name", EXPLAINERS)
each_head = pytest.mark.parametrize("name", HEADS)
each_weighted = pytest.mark.parametrize("name", WEIGHTED)
layouts = pytest.mark.parametrize("layout", LAYOUTS)
n_classes = pytest.mark.parametrize("K", [2, 3])
two_layouts = pytest.mark.parametrize("layout", ["dense32", "csr64"])
# 70 classes: the duals of DualView are sparse
CASES = [(name, K) for name in EXPLAINERS for K in (2, 3)] + [("DualView", 70)]
each_and_n_classes = pytest.mark.parametrize("name, K", CASES)


def some_layouts(name, K):
    """Each explainer sees all layouts with one K or the other, each layout all explainers and K."""
    if K == 70:
        return LAYOUTS
    inner = (list(EXPLAINERS).index(name) + K) % 2
    if "SVM" in name:  # each test row is an SVM to be fitted
        return LAYOUTS[::3][inner : inner + 1]
    return LAYOUTS[1:3] if inner else LAYOUTS[::3]


everything = pytest.mark.parametrize(
    "name, K, layout", [(*case, layout) for case in CASES for layout in some_layouts(*case)]
)


def laid_out(X, layout):
    X = np.ascontiguousarray(X, dtype=np.float32 if layout.endswith("32") else np.float64)
    return sparse.csr_array(X) if layout.startswith("csr") else X


@cache
def problem(K, layout="dense64"):
    """Rows with labels that the features tell in part, and test rows."""
    rng = np.random.default_rng(K)
    n, d, m = {2: (50, 4, 7), 3: (60, 5, 8), 70: (150, 12, 4)}[K]
    codes = np.concatenate([np.arange(K), rng.binomial(K - 1, 0.4, size=n - K)])
    X = rng.normal(size=(n, d)) + 0.7 * rng.normal(size=(K, d))[codes]
    X[rng.random(size=X.shape) < 0.3] = 0.0
    test = rng.normal(size=(m, d))
    X, test = (np.round(8 * A) / 8 for A in (X, test))
    return laid_out(X, layout), LABELS[K][codes], laid_out(test, layout)


def fit(explainer, X, y, weight=None, **parameters):
    """A fitted clone; a classifier in it is fitted first, to dense rows."""
    explainer = clone(explainer).set_params(**parameters)
    model = getattr(explainer, "estimator", None)
    weight = () if weight is None else (weight,)
    if model is not None and not isinstance(model, FrozenEstimator):
        model = clone(model).fit(reference.dense(X), y, *weight)
        explainer.set_params(estimator=FrozenEstimator(model))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return explainer.fit(X, y, *weight)


@cache
def fitted(name, K, layout="dense64"):
    return fit(EXPLAINERS[name], *problem(K, layout)[:2])


def attributions(e, X, target=None):
    """Dense attributions, whatever `sparse_output` is."""
    return e.attribute(X, target, out=np.empty((X.shape[0], e.n_samples_fit_), dtype=X.dtype))


def targets(e, X):
    """Name -> target: every form of target that the explainer takes."""
    rng = np.random.default_rng(0)
    m, K = X.shape[0], len(e.classes_)
    found = {"predicted": None, "one": e.classes_[1], "labels": rng.choice(e.classes_[:3], size=m)}
    return found | ({"weights": rng.normal(size=(m, K))} if hasattr(e, "coef_") else {})


def labels_of(e, X, target):
    """The labels that a target other than weights means."""
    return e.predict(X) if target is None else np.broadcast_to(target, X.shape[0])


def label_weights(e, labels):
    V = (np.asarray(labels)[:, None] == e.classes_).astype(np.float64)
    return 2 * V - 1 if len(e.classes_) == 2 else V


def excluded(e, y, labels):
    """Pairs that same_class=True does not compare, (m, n)."""
    return np.asarray(labels)[:, None] != y if getattr(e, "same_class", False) else False


def logits(e, X):
    f = e.decision_function(X)
    return np.column_stack([-f / 2, f / 2]) if f.ndim == 1 else f


def largest(T):
    return np.abs(T[np.isfinite(T)]).max()


def assert_close(a, b, units=64):
    """Equal up to some units of rounding of the coarser type, relative to the largest entry."""
    a, b = reference.dense(a), b
    eps = max(np.finfo(A.dtype).eps for A in (a, b))
    assert_array_equal(np.isfinite(a), np.isfinite(b))
    ok = np.isfinite(b)
    assert_allclose(a[ok], b[ok], rtol=0, atol=units * eps * largest(b))


def assert_agree(T, expected, rtol=1e-7):
    """Equal as far as the solvers' tolerances go, relative to the largest entry."""
    assert_array_equal(np.isfinite(T), np.isfinite(expected))
    ok = np.isfinite(expected)
    assert_allclose(T[ok], expected[ok], rtol=0, atol=rtol * largest(expected))


# attribute in all its forms


@everything
def test_attribute(name, K, layout):
    X, y, X_test = problem(K, layout)
    e = fitted(name, K, layout)
    for form, target in targets(e, X_test).items():
        out = np.full((X_test.shape[0], X.shape[0]), np.nan, dtype=X.dtype)
        assert e.attribute(X_test, target, out=out) is out
        assert largest(out) > 0
        T = e.attribute(X_test, target)
        assert T.shape == out.shape and T.dtype == X_test.dtype
        hidden = np.zeros(out.shape, dtype=bool)
        if form != "weights":
            hidden |= excluded(e, y, labels_of(e, X_test, target))
        assert hidden.any() == (name in SAME_CLASS)
        assert (out[hidden] == -np.inf).all() and np.isfinite(out[~hidden]).all()
        if getattr(e, "sparse_output", False):
            assert sparse.issparse(T) and T.format == "csr"
            assert_array_equal(T.toarray(), out)
        else:
            assert type(T) is np.ndarray and T.flags.c_contiguous
            assert_array_equal(T, out)
        if target is None:
            T = e.transform(X_test)
            assert_array_equal(T.toarray() if sparse.issparse(T) else T, out)


@pytest.mark.parametrize("name", SPARSE)
@n_classes
@two_layouts
def test_sparse_output(name, K, layout):
    X, y, X_test = problem(K, layout)
    a, b = (fit(EXPLAINERS[name], X, y, sparse_output=s) for s in (True, False))
    for form, target in targets(a, X_test).items():
        S, T = a.attribute(X_test, target), b.attribute(X_test, target)
        assert isinstance(S, sparse.csr_array) and type(T) is np.ndarray
        S.check_format()
        assert S.has_canonical_format and S.dtype == T.dtype == X.dtype
        if name in SAME_CLASS:
            # what is not compared is absent
            assert_array_equal(S.nnz, np.isfinite(T).sum())
            T = np.where(np.isfinite(T), T, 0)
        elif name == "DualView":
            outside = np.setdiff1d(np.arange(X.shape[0]), a.support_)
            assert not np.isin(S.indices, outside).any(), form
        assert_array_equal(S.toarray(), T)


@each_and_n_classes
def test_forms_of_labels(name, K):
    _, _, X_test = problem(K)
    e = fitted(name, K)
    label = e.classes_[1]
    labels = np.repeat(label, len(X_test))
    expected = attributions(e, X_test, labels)
    for form in (
        label,
        label.item(),
        labels.tolist(),
        tuple(labels),
        labels.astype(object),
        pd.Series(labels, index=labels),
        pl.Series(labels.tolist()),
    ):
        assert_array_equal(attributions(e, X_test, form), expected)
    assert_array_equal(attributions(e, X_test), attributions(e, X_test, e.predict(X_test)))


@everything
def test_labels_are_logit_weights(name, K, layout):
    X, _, X_test = problem(K, layout)
    e = fitted(name, K, layout)
    labels = np.resize(e.classes_, X_test.shape[0])
    V = label_weights(e, labels)
    if name not in HEADS:
        with pytest.raises(ValueError, match="no logits: target must be one label or one label a"):
            e.attribute(X_test, V)
        return
    expected = attributions(e, X_test, labels)
    for form in (V, V.astype(int), V.tolist(), pd.DataFrame(V), pl.DataFrame(V), V.astype("f4")):
        assert_close(attributions(e, X_test, form), expected)
    assert_close(attributions(e, X_test, sparse.csr_array(V)), expected)
    # linear in the weights
    W = targets(e, X_test)["weights"]
    both = attributions(e, X_test, V - 2 * W)
    assert_close(expected - 2 * attributions(e, X_test, W), both)


@each_head
def test_binary_weights_act_on_half_the_decision_value(name):
    _, _, X_test = problem(2)
    e = fitted(name, 2)
    T = attributions(e, X_test, "yes")
    for v, expected in [((1, 0), -T / 2), ((0, 1), T / 2), ((-1, 1), T), ((1, 1), 0 * T)]:
        found = attributions(e, X_test, np.tile(v, (len(X_test), 1)))
        assert_allclose(found, expected, rtol=0, atol=1e-14 * largest(T))
    assert_close(attributions(e, X_test, "no"), -T)


# how far fits to float32 or CSR rows may lie apart: by their own tolerances
AGREE = {"DualView": 1e-3}


@each
@n_classes
def test_all_layouts_agree(name, K):
    expected = attributions(fitted(name, K), problem(K)[2])
    mixed = zip(LAYOUTS, LAYOUTS[::-1], strict=True)
    for train, test in [*mixed, *((layout, layout) for layout in LAYOUTS)]:
        e, X_test = fitted(name, K, train), problem(K, test)[2]
        T = attributions(e, X_test)
        exact = train.endswith("64") and test.endswith("64")
        assert_agree(T, expected, AGREE.get(name, 1e-9 if exact else 1e-5))
        values, rows = e.top_k(X_test, 4)
        assert values.dtype == X_test.dtype
        assert_array_equal(values, np.take_along_axis(T, rows, axis=1))
        if name != "euclidean":
            assert e.decompose(X_test, rows).dtype == X_test.dtype


@each
@two_layouts
def test_one_row_is_that_row_of_the_whole(name, layout):
    _, _, X_test = problem(3, layout)
    e = fitted(name, 3, layout)
    for form, target in targets(e, X_test).items():
        T = attributions(e, X_test, target)
        for j in (0, 5):
            one = target if form in ("predicted", "one") else target[[j]]
            row = attributions(e, X_test[[j]], one)
            assert_agree(row, T[[j]], 256 * np.finfo(X_test.dtype).eps)


@pytest.mark.parametrize("name, K", [case for case in CASES if case[1] != 2])
@pytest.mark.parametrize("layout", ["dense64", "csr32"])
def test_blocks_change_nothing(name, K, layout, monkeypatch):
    X, _, X_test = problem(K, layout)
    e = fitted(name, K, layout)

    def forms(target):
        T = attributions(e, X_test, target)
        return T, e.aggregate(X_test, target), *e.top_k(X_test, 4, target=target)

    for target in targets(e, X_test).values():
        with monkeypatch.context() as patch:
            expected = forms(target)
            patch.setattr(scoring, "ROWS", 3)
            patch.setattr(scoring, "COLUMNS", 7)
            found = forms(target)
        for a, b in zip(found[:3], expected[:3], strict=True):
            assert_close(a, b)
        assert_array_equal(found[2], np.take_along_axis(found[0], found[3], axis=1))
        sparse_e = copy.copy(e)
        sparse_e.sparse_output = True
        T = sparse_e.attribute(X_test, target).toarray()
        assert_close(T, np.where(np.isfinite(expected[0]), expected[0], 0))


@each
def test_out_may_be_any_writable_array(name, tmp_path):
    _, _, X_test = problem(3)
    e = fitted(name, 3)
    expected = attributions(e, X_test, 4)
    m, n = expected.shape
    mapped = np.memmap(tmp_path / "T", dtype=np.float64, mode="w+", shape=(m, n))
    for out in (mapped, np.full((m, n), 7.0), np.full((2 * m, n), np.nan)[5 : 5 + m]):
        assert e.attribute(X_test, 4, out=out) is out
        assert_array_equal(out, expected)
    mapped.flush()
    assert_array_equal(np.fromfile(tmp_path / "T").reshape(m, n), expected)


def read_only(A):
    A.flags.writeable = False
    return A


@each
@pytest.mark.parametrize(
    "out, message",
    [
        (np.empty((8, 59)), r"\(8, 60\) and type float64"),
        (np.empty((60, 8)), r"\(8, 60\) and type float64"),
        (np.empty(480), r"\(8, 60\) and type float64"),
        (np.empty((8, 60), dtype=np.float32), r"\(8, 60\) and type float64"),
        (np.empty((8, 60), dtype=int), r"\(8, 60\) and type float64"),
        ([[0.0] * 60] * 8, r"\(8, 60\) and type float64"),
        (read_only(np.zeros((8, 60))), "writeable"),
        (np.zeros((8, 60), order="F"), "C order"),
    ],
    ids=["width", "transposed", "flat", "float32", "int", "list", "read-only", "F"],
)
def test_out_that_does_not_fit(name, out, message):
    with pytest.raises(ValueError, match=message):
        fitted(name, 3).attribute(problem(3)[2], out=out)


# top_k


def stable_sort(T, is_largest):
    return np.argsort(-T if is_largest else T, axis=1, kind="stable")


@everything
@pytest.mark.parametrize("is_largest", [True, False], ids=["largest", "smallest"])
def test_top_k_is_a_stable_sort(name, K, layout, is_largest):
    X, y, X_test = problem(K, layout)
    e = fitted(name, K, layout)
    n = X.shape[0]
    for form, target in targets(e, X_test).items():
        if form == "predicted" and name not in HEADS:
            continue  # as labels, and dear
        T = attributions(e, X_test, target)
        most = n
        if name in SAME_CLASS:
            labels = labels_of(e, X_test, target)
            most = min((y == label).sum() for label in labels)
            # never among the smallest
            T[excluded(e, y, labels)] = -np.inf if is_largest else np.inf
        order = stable_sort(T, is_largest)
        for k in sorted({1, min(most, 13), most}):
            values, rows = e.top_k(X_test, k, target=target, largest=is_largest)
            assert values.shape == rows.shape == (X_test.shape[0], k)
            assert values.dtype == X_test.dtype and rows.dtype.kind == "i"
            assert_array_equal(rows, order[:, :k], form)
            assert_array_equal(values, np.take_along_axis(T, order[:, :k], axis=1))
            assert np.isfinite(values).all() and not np.signbit(values[values == 0]).any()


@each
@pytest.mark.parametrize("is_largest", [True, False], ids=["largest", "smallest"])
def test_top_k_with_ties_and_zeros(name, is_largest):
    rng = np.random.default_rng(1)
    X = np.repeat(rng.integers(-1, 2, size=(12, 2)), 4, axis=0).astype(np.float64)
    y = rng.integers(0, 3, size=48)
    weight = rng.integers(0, 2, size=48) if name in WEIGHTED else None
    e = fit(EXPLAINERS[name], X, y, weight)
    X_test = np.vstack([np.zeros(2), X[::7]])
    T = attributions(e, X_test, 1)
    assert len(np.unique(T)) < T.size / 2
    T[np.isneginf(T)] = -np.inf if is_largest else np.inf
    order = stable_sort(T, is_largest)
    for k in range(1, 1 + np.isfinite(T).sum(axis=1).min(), 3):
        values, rows = e.top_k(X_test, k, target=1, largest=is_largest)
        assert_array_equal(rows, order[:, :k])
        assert_array_equal(values, np.take_along_axis(T, order[:, :k], axis=1))


@each
@pytest.mark.parametrize("k", [0, -1, 61, 2.0, True, None, "3"])
def test_k_out_of_range(name, k):
    match = r"k must be an integer in 1\.\.60"
    if name in SAME_CLASS and k == 61:
        match = "k=61, but class"
    with pytest.raises(ValueError, match=match):
        fitted(name, 3).top_k(problem(3)[2], k)


@pytest.mark.parametrize("name", SAME_CLASS)
def test_k_beyond_the_rows_of_a_class(name):
    _, y, X_test = problem(2)
    e = fitted(name, 2)
    many, few = (np.sum(y == label) for label in ("no", "yes"))
    assert few < many
    assert e.top_k(X_test, many, target="no")[0].shape == (7, many)
    with pytest.raises(ValueError, match=f"k={many}, but class .*'yes'.* has only {few} training"):
        e.top_k(X_test, many, target=["no"] * 6 + ["yes"])


def peak(function, *args, **options):
    tracemalloc.start()
    try:
        result = function(*args, **options)
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# an SVM a test row is too dear here, and its blocks are made as Influence's
@pytest.mark.parametrize(
    "name, layout",
    [(name, "dense64") for name in EXPLAINERS if "SVM" not in name]
    + [(name, "csr64") for name in ("DualView", "Influence", "dot")],
)
def test_the_matrix_is_never_built(name, layout):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(5000, 8)), rng.integers(0, 3, size=5000)
    e = fit(EXPLAINERS[name], laid_out(X, layout), y)
    X_test = laid_out(rng.normal(size=(1500, 8)), layout)
    for target in (1, e.target_weights(X_test, "margin")) if name in HEADS else (1,):
        (values, rows), memory = peak(e.top_k, X_test, 5, target=target)
        # the matrix takes 60 MB; a block of 256 x 2048, its coefficients and products 4 MB each
        assert memory < 30e6
        _, memory = peak(e.aggregate, X_test, target)
        assert memory < 30e6
        some = slice(0, 1500, 100)
        part = target[some] if np.ndim(target) == 2 else target
        T = attributions(e, X_test[some], part)
        assert_close(np.take_along_axis(T, rows[some], axis=1), values[some])
        assert_close(-np.sort(-T, axis=1)[:, :5], values[some])


# aggregate, decompose


@everything
def test_aggregate_is_the_weighted_sum(name, K, layout):
    X, _, X_test = problem(K, layout)
    e = fitted(name, K, layout)
    m = X_test.shape[0]
    weights = np.random.default_rng(0).normal(size=m)
    for form, target in targets(e, X_test).items():
        T = attributions(e, X_test, target).astype(np.float64)
        T[np.isneginf(T)] = 0.0
        atol = 64 * np.finfo(X.dtype).eps * largest(T) * m
        for w in (None, weights.tolist(), np.zeros(m)) if form == "one" else (weights,):
            total = e.aggregate(X_test, target, weights=w)
            assert total.dtype == np.float64 and total.shape == (X.shape[0],)
            expected = T.sum(axis=0) if w is None else np.array(w) @ T
            assert_allclose(total, expected, rtol=0, atol=atol)


@each
@pytest.mark.parametrize("weights", [np.ones(3), np.ones((8, 1)), [np.nan] * 8, 2.0])
def test_weights_of_aggregate_that_do_not_fit(name, weights):
    with pytest.raises(ValueError, match="8 finite numbers"):
        fitted(name, 3).aggregate(problem(3)[2], weights=weights)


@pytest.mark.parametrize("name", [*HEADS, "dot"])
@n_classes
@layouts
def test_decompose_is_what_each_feature_adds(name, K, layout):
    # attributions are linear in the test row: each feature alone, less no feature at all
    X, _, X_test = problem(K, layout)
    e = fitted(name, K, layout)
    rows = np.random.default_rng(0).integers(0, X.shape[0], size=(X_test.shape[0], 6))
    rows[0] = rows[0, 0]
    for form, target in targets(e, X_test).items():
        if form == "predicted":
            target = e.predict(X_test)
        shares = e.decompose(X_test, rows, target=target)
        assert shares.shape == (*rows.shape, X.shape[1]) and shares.dtype == X_test.dtype
        whole, none = (
            np.take_along_axis(attributions(e, A, target), rows, axis=1)
            for A in (X_test, 0 * X_test)
        )
        scale = largest(whole) + largest(none)
        atol = 64 * np.finfo(X.dtype).eps * scale
        for k in range(X.shape[1]):
            alone = laid_out(reference.dense(X_test) * (np.arange(X.shape[1]) == k), layout)
            T = np.take_along_axis(attributions(e, alone, target), rows, axis=1)
            assert_allclose(shares[:, :, k], T - none, rtol=0, atol=atol)
        assert_allclose(shares.sum(axis=2) + none, whole, rtol=0, atol=atol)


@pytest.mark.parametrize("name", ["cosine", "same_class", "ExemplarSVM"])
@n_classes
@layouts
def test_decompose_sums_to_similarities(name, K, layout):
    X, y, X_test = problem(K, layout)
    e = fitted(name, K, layout)
    label = e.classes_[0]
    rows = e.top_k(X_test, 5, target=label)[1]
    T = np.take_along_axis(attributions(e, X_test, label), rows, axis=1)
    shares = e.decompose(X_test, rows, target=label)
    assert shares.shape == (*rows.shape, X.shape[1]) and shares.dtype == X_test.dtype
    rest = T - shares.sum(axis=2)
    if name == "ExemplarSVM":
        # the intercept of the hyperplane, whatever the training row is
        assert np.abs(rest).min() > 0.1
        rest = rest - rest[:, :1]
    assert_allclose(rest, 0, atol=64 * np.finfo(X.dtype).eps * (1 + largest(T)))
    # a feature that the training row does not have carries nothing
    lacks = reference.dense(X)[rows] == 0
    assert lacks.any() and (shares[lacks] == 0).all() and (shares[~lacks] != 0).mean() > 0.8


def test_distances_have_no_shares():
    e, X_test = fitted("euclidean", 3), problem(3)[2]
    with pytest.raises(ValueError, match="'dot' or 'cosine'"):
        e.decompose(X_test, np.zeros((8, 1), dtype=int))


@pytest.mark.parametrize(
    "name",
    [
        "same_class",
        "ExemplarSVM-same_class",
    ],
)
def test_excluded_rows_have_no_shares(name):
    _, y, X_test = problem(3)
    rows = np.full((8, 2), np.flatnonzero(y == 4)[0])
    fitted(name, 3).decompose(X_test, rows, target=4)
    with pytest.raises(ValueError, match="same_class"):
        fitted(name, 3).decompose(X_test, rows, target=7)


@each
@pytest.mark.parametrize(
    "indices",
    [
        np.zeros(8, dtype=int),
        np.zeros((7, 2), dtype=int),
        np.zeros((8, 2)),
        np.zeros((8, 2), dtype=bool),
        np.zeros((8, 2, 1), dtype=int),
        np.full((8, 2), -1),
        np.full((8, 2), 60),
        [["0"]] * 8,
    ],
    ids=["flat", "rows", "floats", "bools", "cube", "negative", "beyond", "strings"],
)
def test_indices_of_decompose_that_do_not_fit(name, indices):
    match = r"indices must be (integers of shape \(8, k\)|training rows, 0\.\.59)"
    with pytest.raises(ValueError, match=match):
        fitted(name, 3).decompose(problem(3)[2], indices)


@pytest.mark.parametrize("name", [name for name in EXPLAINERS if name != "euclidean"])
def test_decompose_takes_any_integers(name):
    e, X_test = fitted(name, 3), problem(3)[2]
    rows = e.top_k(X_test, 2)[1]
    expected = e.decompose(X_test, rows)
    for form in (rows.astype(np.uint8), rows.tolist(), np.asfortranarray(rows)):
        assert_array_equal(e.decompose(X_test, form), expected)
    assert e.decompose(X_test, rows[:, :0]).shape == (8, 0, 5)


# heads and named outputs


@each_head
@n_classes
@layouts
def test_predictions_of_heads(name, K, layout):
    X, y, X_test = problem(K, layout)
    e = fitted(name, K, layout)
    f = e.decision_function(X_test)
    assert f.dtype == np.float64 and f.shape == ((len(f),) if K == 2 else (len(f), K))
    rows = 1 if K == 2 else K
    assert e.coef_.shape == (rows, X.shape[1]) and e.intercept_.shape == (rows,)
    expected = reference.decision_function(e.coef_, e.intercept_, X_test)
    assert_allclose(logits(e, X_test)[:, -rows:] * (2 if K == 2 else 1), expected, rtol=1e-12)
    z = logits(e, X_test)
    assert_array_equal(e.predict(X_test), e.classes_[z.argmax(axis=1)])
    weight = np.arange(X.shape[0]) % 3
    assert e.score(X, y, weight) == np.average(e.predict(X) == y, weights=weight)
    if hasattr(e, "predict_proba"):
        assert_allclose(e.predict_proba(X_test), softmax(z, axis=1), rtol=1e-12)
        assert_allclose(e.predict_log_proba(X_test), log_softmax(z, axis=1), rtol=1e-12)


OUTPUTS = ("logit", "margin", "log_odds", "probability", "loss")


def output_values(z, codes, output):
    """The named output of logits (m, K), by its definition."""
    at = np.arange(len(codes)), codes
    p = softmax(z, axis=1)[at]
    others = np.where(np.eye(z.shape[1], dtype=bool)[codes], -np.inf, z)
    return {
        "logit": z[at] if z.shape[1] > 2 else 2 * z[at],
        "margin": z[at] - others.max(axis=1),
        "log_odds": np.log(p / (1 - p)),
        "probability": p,
        "loss": np.log(p),
    }[output]


@each_head
@n_classes
def test_target_weights_are_derivatives(name, K):
    _, _, X_test = problem(K)
    e = fitted(name, K)
    m, d = X_test.shape
    step = 1e-5
    labels = np.resize(e.classes_, m)
    for output in OUTPUTS if hasattr(e, "predict_proba") else OUTPUTS[:2]:
        for y in (None, e.classes_[1], labels):
            if output == "loss" and y is None:
                continue
            codes = np.searchsorted(e.classes_, labels_of(e, X_test, y))
            V = e.target_weights(X_test, output, y)
            assert V.shape == (m, K) and V.dtype == np.float64
            if output != "logit" or K == 2:
                assert_allclose(V.sum(axis=1), 0, atol=1e-15)
            for k in range(d):
                ahead, behind = (logits(e, X_test + s * step * np.eye(d)[k]) for s in (1, -1))
                change = output_values(ahead, codes, output) - output_values(behind, codes, output)
                expected = np.sum(V * (ahead - behind), axis=1)
                # third derivatives times step**3, and rounding
                assert_allclose(change, expected, rtol=0, atol=1e-13)
    assert_array_equal(e.target_weights(X_test, y=labels), label_weights(e, labels))


@n_classes
def test_target_weights_in_logit_space(K):
    # a head whose logits are the features: differentiate along each logit
    rng = np.random.default_rng(0)
    Z, y = rng.normal(size=(30, K)), np.arange(30) % K
    e = InfluenceExplainer(LinearHead(np.eye(K))).fit(Z, y)
    step = 1e-5
    for output in OUTPUTS:
        numeric = [
            output_values(logits(e, Z + step * one), y, output)
            - output_values(logits(e, Z - step * one), y, output)
            for one in np.eye(K)
        ]
        numeric = np.transpose(numeric) / (2 * step)
        assert_allclose(e.target_weights(Z, output, y), numeric, rtol=0, atol=1e-8)


@n_classes
@pytest.mark.parametrize("output", OUTPUTS)
def test_target_weights_of_saturated_probabilities(K, output):
    e = InfluenceExplainer(LinearHead(np.eye(K))).fit(np.eye(K), np.arange(K))
    Z = np.concatenate([1000 * np.eye(K), -1000 * np.eye(K)])
    sure, wrong = np.arange(K), (np.arange(K) + 1) % K
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        V = e.target_weights(Z, output, np.concatenate([sure, sure]))
        W = e.target_weights(Z[:K], output, wrong)
        assert np.isfinite(e.attribute(Z, V)).all()
    assert np.isfinite(V).all() and np.isfinite(W).all()
    one, other = np.eye(K)[wrong], np.eye(K)[sure]
    expected = {
        "logit": one - other if K == 2 else one,
        "margin": one - other,
        "log_odds": one - other,
        "probability": 0 * one,
        "loss": one - other,
    }[output]
    assert_allclose(W, expected, atol=1e-300)
    if output in ("probability", "loss"):
        # nothing is left to gain
        assert_allclose(V[:K], 0, atol=1e-300)


@each_head
def test_outputs_that_do_not_exist(name):
    e, X_test = fitted(name, 3), problem(3)[2]
    known = "'logit', 'margin'"
    if hasattr(e, "predict_proba"):
        known += ", 'log_odds', 'probability', 'loss'"
        with pytest.raises(ValueError, match="'loss' needs y"):
            e.target_weights(X_test, "loss")
    else:
        for output in OUTPUTS[2:]:
            with pytest.raises(ValueError, match=f"{known} for {type(e).__name__}, got '{output}'"):
                e.target_weights(X_test, output, 4)
    with pytest.raises(ValueError, match=f"one of {known} for {type(e).__name__}, got 'foo'"):
        e.target_weights(X_test, "foo")
    with pytest.raises(ValueError, match="one label or one label a row"):
        e.target_weights(X_test, y=np.ones((8, 3)))
    with pytest.raises(ValueError, match="not one of the classes"):
        e.target_weights(X_test, y=5)


BAD_TARGETS = {
    "label": (5, r"target 5 is not one of the classes \[-1, 4, 7\]"),
    "nan": (np.nan, "not one of the classes"),
    "between": (4.5, "target 4.5 is not one"),
    "string": ("4", "target '4' is not one"),
    "one of many": ([4] * 7 + [5], "target 5 is not one"),
    "mixed": (np.array([4] * 7 + ["x"], dtype=object), "target 'x' is not one"),
    "missing": (np.array([4] * 7 + [None], dtype=object), "target None is not one"),
    "too few": ([4] * 3, r"target has 3 labels but X has 8 rows"),
    "empty": ([], "target has 0 labels"),
    "width": (np.ones((8, 2)), r"shape \(8, 3\), got \(8, 2\)"),
    "column": (np.ones((8, 1)), r"shape \(8, 3\), got \(8, 1\)"),
    "height": (np.ones((3, 3)), r"shape \(8, 3\), got \(3, 3\)"),
    "cube": (np.ones((8, 3, 1)), r"shape \(8, 3\)"),
    "sparse": (sparse.csr_array(np.ones((3, 3))), r"shape \(8, 3\)"),
    "infinite": (np.full((8, 3), np.inf), "finite"),
}
# public methods of all explainers, and what they take besides X
INDICES = np.zeros((8, 1), dtype=int)
METHODS = {
    "predict": (),
    "score": (np.zeros(8),),
    "transform": (),
    "attribute": (),
    "aggregate": (),
    "top_k": (),
    "decompose": (INDICES,),
}
OWN_METHODS = {
    "decision_function": (),
    "target_weights": (),
    "predict_proba": (),
    "predict_log_proba": (),
    "decision_error_bound": (),
    "group_effect": ([0],),
    "leave_one_out": problem(3)[:2],
}
TARGETED = ("attribute", "aggregate", "top_k", "decompose", "decision_error_bound")
TARGETED += ("group_effect", "leave_one_out")


def methods(e):
    own = {method: args for method, args in OWN_METHODS.items() if hasattr(e, method)}
    return METHODS | own


@each
@pytest.mark.parametrize("bad", BAD_TARGETS)
def test_bad_targets(name, bad):
    e, X_test = fitted(name, 3), problem(3)[2]
    target, message = BAD_TARGETS[bad]
    if name not in HEADS and (sparse.issparse(target) or np.ndim(target) > 1):
        message = "no logits: target must be one label"
    for method, args in methods(e).items():
        if method in TARGETED:
            with pytest.raises(ValueError, match=message):
                getattr(e, method)(X_test, *args, target=target)


@each
def test_numbers_are_no_labels_of_strings(name):
    with pytest.raises(ValueError, match=r"target 1 is not one of the classes \['no', 'yes'\]"):
        fitted(name, 2).attribute(problem(2)[2], 1)


# training rows: weights, repetitions, order


def without_correction(name):
    """Parameters by which a row and its copies attribute as one row of their weight.

    Not with the leverage correction: it is for one copy to go, or for the whole weight.
    """
    return {"leverage_correction": False} if name.startswith("Influence") else {}


TIGHT = {"DualView": {"tol": 1e-12}}


@each_weighted
@n_classes
def test_weights_are_repetitions(name, K):
    X, y, X_test = problem(K)
    times = np.random.default_rng(0).integers(1, 4, size=len(y))
    options = without_correction(name) | TIGHT.get(name, {})
    a = fit(EXPLAINERS[name], X, y, times, **options)
    b = fit(a, np.repeat(X, times, axis=0), np.repeat(y, times))
    assert_agree(a.decision_function(X_test), b.decision_function(X_test))
    starts = np.cumsum(times) - times
    for target in targets(a, X_test).values():
        T = attributions(b, X_test, target)
        assert_agree(np.add.reduceat(T, starts, axis=1), attributions(a, X_test, target))
        assert_agree(T[:, starts] * times, attributions(a, X_test, target))


@each_weighted
@layouts
def test_rows_of_weight_zero_contribute_nothing(name, layout):
    X, y, X_test = problem(3, layout)
    weight = np.random.default_rng(0).integers(0, 4, size=len(y)) / 2.0
    options = {"tol": 1e-7 if layout.endswith("32") else 1e-12} if name == "DualView" else {}
    a = fit(EXPLAINERS[name], X, y, weight, **options)
    kept = np.flatnonzero(weight)
    b = fit(a, X[kept], y[kept], weight[kept])
    rtol = 2e-3 if name == "DualView" and layout.endswith("32") else 1e-5
    for target in targets(a, X_test).values():
        T = attributions(a, X_test, target)
        assert_array_equal(T[:, weight == 0], 0)
        assert_agree(T[:, kept], attributions(b, X_test, target), rtol)
    assert_array_equal(a.self_influence_[weight == 0], 0)
    assert (a.self_influence_[kept] != 0).sum() > len(kept) / 2


# a frozen head with a free intercept has no minimum without rows of a class
@pytest.mark.parametrize("name", OWN_HEAD)
def test_a_class_whose_rows_all_have_weight_zero(name):
    X, y, X_test = problem(3)
    e = fit(EXPLAINERS[name], X, y, y != 4)
    assert_array_equal(e.classes_, [-1, 4, 7])
    for label in e.classes_:
        T = attributions(e, X_test, label)
        assert largest(T) > 0 and (T[:, y == 4] == 0).all()
        assert_array_equal(e.top_k(X_test, 1, target=label)[0][:, 0], T.max(axis=1))


def class_factors(class_weight, y, w):
    if class_weight != "balanced":
        return compute_sample_weight(class_weight, y)
    totals = {label: w[y == label].sum() for label in np.unique(y)}
    return np.array([w.sum() / len(totals) / totals[label] for label in y])


@each_weighted
@n_classes
def test_class_weight_multiplies_sample_weight(name, K):
    X, y, X_test = problem(K)
    e, labels = EXPLAINERS[name], LABELS[K]
    weight = np.random.default_rng(0).integers(1, 4, size=len(y)) / 2.0
    # a frozen LogisticRegression has its own
    key = "estimator__class_weight" if name == "Influence-frozen" else "class_weight"
    for class_weight in ({labels[0]: 3.0, labels[1]: 0.5}, "balanced"):
        for w in (np.ones(len(y)), weight):
            s = class_factors(class_weight, y, w)
            assert len(np.unique(s)) > 1
            b = fit(e, X, y, s * w)
            shared = {"estimator": b.estimator} if name == "Representer-forest" else {}
            a = fit(e, X, y, w, **shared, **{key: class_weight})
            assert_agree(attributions(a, X_test), attributions(b, X_test), 1e-12)
        plain = fit(b, X, y)
        assert np.abs(attributions(a, X_test) - attributions(plain, X_test)).max() > 1e-3


def test_balanced_weights_of_a_frozen_head():
    X, y, _ = problem(3)
    weight = np.random.default_rng(0).integers(1, 4, size=len(y)) / 2.0
    e = fit(EXPLAINERS["Influence-frozen"], X, y, weight, estimator__class_weight="balanced")
    assert e.gradient_norm_ < 1e-9


@each_weighted
def test_class_weights_that_do_not_fit(name):
    X, y, _ = problem(3)
    if name == "Influence-frozen":
        with pytest.raises(ValueError, match="class_weight is that of the frozen"):
            fit(EXPLAINERS[name], X, y, class_weight="balanced")
        return
    for class_weight, message in [
        ({5: 1.0}, "class_weight"),
        ({4: -1.0}, "class_weight must be finite, negative nowhere"),
        ({4: np.nan}, "class_weight must be finite"),
        ({-1: 0, 4: 0, 7: 0}, "positive for some rows"),
        ("equal", "'class_weight' parameter.*'balanced'"),
    ]:
        with pytest.raises(ValueError, match=message):
            fit(EXPLAINERS[name], X, y, class_weight=class_weight)


@pytest.mark.parametrize("name", OWN_HEAD)
def test_weights_scale_like_C(name):
    X, y, X_test = problem(3)
    a = fit(EXPLAINERS[name], X, y, C=0.25)
    b = fit(a, X, y, np.full(len(y), 2.0), C=0.125)
    c = fit(a, X, y, 2, C=0.125)
    if not name.startswith("Influence"):
        assert_agree(attributions(b, X_test), attributions(a, X_test), 1e-12)
    assert_agree(b.coef_, a.coef_, 1e-12)
    assert_array_equal(attributions(b, X_test), attributions(c, X_test))


@each
@two_layouts
def test_equal_rows_have_equal_attributions(name, layout):
    X, y, X_test = problem(3, layout)
    n = X.shape[0]
    stacked = laid_out(np.tile(reference.dense(X), (2, 1)), layout)
    e = fit(EXPLAINERS[name], stacked, np.tile(y, 2))
    for target in targets(e, X_test).values():
        T = attributions(e, X_test, target)
        assert_close(T[:, :n], T[:, n:])
    own = e.self_influence_
    assert_close(own[:n], own[n:])


@each
@n_classes
def test_order_of_training_rows(name, K):
    X, y, X_test = problem(K)
    e = fit(EXPLAINERS[name], X, y, **TIGHT.get(name, {}))
    order = np.random.default_rng(0).permutation(len(y))
    other = fit(e, X[order], y[order])
    for target in targets(e, X_test).values():
        expected = attributions(e, X_test, target)[:, order]
        assert_agree(attributions(other, X_test, target), expected)
    assert_agree(other.self_influence_, e.self_influence_[order])


# what fit takes


def test_read_only_memory_maps_are_not_copied(tmp_path):
    # 48 MB; batches of rows are at most 8 MB, some at a time. DualView: in its own module
    rng = np.random.default_rng(0)
    y = np.arange(60_000) % 2
    X = rng.normal(size=(60_000, 100)) / 10 + y[:, None] / 20
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    for name in ("Representer", "Influence-frozen", "dot", "ExemplarSVM"):
        e = clone(EXPLAINERS[name])
        if name == "Influence-frozen":
            e.set_params(estimator=LinearHead(np.ones((1, 100))))
        e, memory = peak(e.fit, mapped, y)
        assert memory < 0.7 * mapped.nbytes, name
        if name in HEADS:
            _, memory = peak(e.decision_function, mapped)
            assert memory < mapped.nbytes / 2


@each
@pytest.mark.parametrize("layout", ["dense64", "csr64"])
def test_arguments_are_left_alone(name, layout):
    X, y, X_test = (A.copy() for A in problem(3, layout))
    weight = (np.linspace(0.5, 2, len(y)),) if name in WEIGHTED else ()
    parts = [
        part
        for A in (X, y, X_test, *weight)
        for part in ((A.data, A.indices, A.indptr) if sparse.issparse(A) else (A,))
    ]
    before = [part.copy() for part in parts]
    e = fit(EXPLAINERS[name], X, y, *weight)  # of a classifier too
    for part in parts:
        part.flags.writeable = False
    e.fit(X, y, *weight)
    rows = e.top_k(X_test)[1]
    e.attribute(X_test, e.target_weights(X_test, "margin") if name in HEADS else None)
    e.aggregate(X_test), e.predict(X_test), e.self_influence_
    if name != "euclidean":
        e.decompose(X_test, rows)
    for part, copied in zip(parts, before, strict=True):
        assert_array_equal(part, copied)


def disordered(X):
    """The same CSR matrix with columns out of order and entries split in two."""
    rng = np.random.default_rng(0)
    data, indices = [], []
    for i in range(X.shape[0]):
        part = slice(X.indptr[i], X.indptr[i + 1])
        order = rng.permutation(2 * len(X.data[part]))
        data.append(np.tile(X.data[part] / 2, 2)[order])
        indices.append(np.tile(X.indices[part], 2)[order])
    return np.concatenate(data), np.concatenate(indices), 2 * X.indptr


@each
@pytest.mark.parametrize("kind", [sparse.csr_array, sparse.csr_matrix])
def test_sparse_rows_in_disorder_stay_as_they_are(name, kind):
    X, y, X_test = problem(3, "csr64")
    expected = fitted(name, 3, "csr64")
    parts = [disordered(A) for A in (X, X_test)]
    before = [[part.copy() for part in A] for A in parts]
    train, test = (kind(A, shape=B.shape) for A, B in zip(parts, (X, X_test), strict=True))
    e = fit(expected, train, y)
    rows = e.top_k(test, 3)[1]
    assert_agree(attributions(e, test), attributions(expected, X_test), 1e-12)
    assert_agree(e.aggregate(test), expected.aggregate(X_test), 1e-12)
    if name != "euclidean":
        assert_agree(e.decompose(test, rows), expected.decompose(X_test, rows), 1e-12)
    if name in HEADS:
        e.target_weights(test, "margin")
    for A, B, copied in zip((train, test), parts, before, strict=True):
        for now, given, then in zip((A.data, A.indices, A.indptr), B, copied, strict=True):
            assert_array_equal(now, then)
            assert_array_equal(given, then)


@each
@pytest.mark.parametrize("form", ["csc", "coo", "dia", "dok", "zeros"])
def test_other_sparse_formats(name, form):
    X, y, X_test = problem(3, "csr64")
    expected = fitted(name, 3, "csr64")

    def formed(A):
        if form == "zeros":
            n, d = A.shape
            indices, indptr = np.tile(np.arange(d), n), np.arange(n + 1) * d
            parts = A.toarray().ravel(), indices.astype(np.int32), indptr.astype(np.int32)
            return sparse.csr_array(parts, shape=A.shape)
        return A.asformat(form)

    e = fit(expected, formed(X), y)
    assert_agree(attributions(e, formed(X_test)), attributions(expected, X_test), 1e-12)


@pytest.mark.parametrize("name", [name for name in EXPLAINERS if name != "Representer-forest"])
def test_64_bit_indices(name):
    X, y, X_test = problem(3, "csr64")
    wide = [
        sparse.csr_array((A.data, A.indices.astype(np.int64), A.indptr.astype(np.int64)), A.shape)
        for A in (X, X_test)
    ]
    assert wide[0].indices.dtype == np.int64
    expected = fitted(name, 3, "csr64")
    assert_agree(attributions(fit(expected, wide[0], y), wide[1]), attributions(expected, X_test))


@each
@pytest.mark.parametrize("dtype", [np.float16, np.int8, np.int64, np.uint8, bool, object, ">f8"])
def test_other_number_types(name, dtype):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, size=(30, 5)) if dtype is bool else rng.integers(0, 9, size=(30, 5))
    y = np.arange(30) % 3
    expected = fit(EXPLAINERS[name], X.astype(np.float64), y)
    e = fit(expected, X.astype(dtype), y)
    T = e.attribute(X[:4].astype(dtype))
    assert T.dtype == np.float64
    assert_array_equal(reference.dense(T), attributions(expected, X[:4].astype(np.float64)))


@each
@pytest.mark.parametrize("order", ["F", "strided"])
def test_other_orders_of_memory(name, order):
    X, y, X_test = problem(3)
    wide = np.full((len(X), 2 * X.shape[1]), np.nan)
    wide[:, ::2] = X
    A = np.asfortranarray(X) if order == "F" else wide[:, ::2]
    expected = fitted(name, 3)
    e = fit(expected, A, y)
    assert_array_equal(attributions(e, X_test), attributions(expected, X_test))
    assert_array_equal(attributions(e, A[:5]), attributions(expected, X[:5]))


@each
@pytest.mark.parametrize(
    "y",
    [
        list("ab" * 20),
        np.array(list("ab" * 20), dtype=object),
        pd.Series(list("ab" * 20), dtype="category"),
        pl.Series(list("ab" * 20)),
        np.arange(40) % 2 == 1,
        (np.arange(40) % 2).astype(np.float64),
        np.arange(40) % 2 * 2**60,
    ],
    ids=["list", "object", "category", "polars", "bool", "float", "large"],
)
def test_kinds_of_labels(name, y):
    X = np.random.default_rng(0).normal(size=(40, 4))
    e = fit(EXPLAINERS[name], X, y)
    expected = fit(EXPLAINERS[name], X, np.arange(40) % 2)
    assert_array_equal(e.classes_, np.unique(np.asarray(y)))
    assert_array_equal(e.predict(X[:5]), e.classes_[expected.predict(X[:5])])
    for c in (0, 1):
        T = attributions(expected, X[:3], c)
        assert_array_equal(attributions(e, X[:3], e.classes_[c]), T)
        assert_array_equal(attributions(e, X[:3], np.asarray(y)[[c] * 3]), T)


X3, Y3 = np.random.default_rng(0).normal(size=(9, 2)), np.arange(9) % 3
BAD_FITS = {
    "nan": ({"X": np.where(np.eye(9, 2) == 1, np.nan, X3)}, "X contains NaN"),
    "inf": ({"X": np.where(np.eye(9, 2) == 1, np.inf, X3)}, "X contains infinity"),
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
    "one negative weight": ({"sample_weight": X3[:, 0]}, "sample_weight.*negative nowhere"),
    "zero weights": ({"sample_weight": np.zeros(9)}, "at least one non-zero"),
    "nan weights": ({"sample_weight": np.full(9, np.nan)}, "sample_weight contains NaN"),
    "short weights": ({"sample_weight": np.ones(3)}, r"sample_weight.shape == \(3,\)"),
    "weight matrix": ({"sample_weight": np.ones((9, 1))}, "1D array"),
}
FROZEN = {"classes": ({"y": Y3 + 1}, r"label of y 3 is not one of the classes \[0, 1, 2\]")}


@each
@pytest.mark.parametrize("bad", [*BAD_FITS, *FROZEN])
def test_fit_refuses(name, bad):
    e = clone(EXPLAINERS[name])
    frozen = getattr(e, "estimator", None) is not None
    if frozen:
        e = e.set_params(estimator=FrozenEstimator(clone(e.estimator).fit(X3, Y3)))
    if (bad in FROZEN and not frozen) or (frozen and bad == "one class"):
        return  # classes are those of the frozen head
    data, message = (BAD_FITS | FROZEN)[bad]
    if "sample_weight" in data and name not in WEIGHTED:
        with pytest.raises(TypeError, match="sample_weight"):
            e.fit(X3, Y3, **data)
        return
    with pytest.raises(ValueError, match=message):
        e.fit(**{"X": X3, "y": Y3} | data)
    # nor does it count as fitted then
    with pytest.raises(NotFittedError):
        e.predict(X3)


@pytest.mark.parametrize("name", [name for name in EXPLAINERS if hasattr(EXPLAINERS[name], "C")])
@pytest.mark.parametrize("C", [-1.0, 0, np.inf, np.nan, "1"])
def test_C_that_is_none(name, C):
    # scikit-learn's check_param_validation has the other parameters
    with pytest.raises(ValueError, match="'C' parameter"):
        fit(EXPLAINERS[name], X3, Y3, C=C)


@each
def test_parameters_are_named_and_known(name):
    cls = type(EXPLAINERS[name])
    with pytest.raises(TypeError, match="foo"):
        cls(foo=1)
    with pytest.raises(ValueError, match="'foo'"):
        clone(EXPLAINERS[name]).set_params(foo=1)
    with pytest.raises(TypeError):
        cls(None, True)


@each_head
def test_parameters_set_after_fit_wait_for_the_next_fit(name):
    X, y, X_test = problem(3)
    e = fit(EXPLAINERS[name], X, y)
    T, p = attributions(e, X_test), e.decision_function(X_test)
    e.set_params(fit_intercept=False, C=5.0, class_weight="balanced")
    if name.startswith("Influence"):
        e.set_params(inverse="identity", damping=3.0, leverage_correction=False)
    assert_array_equal(attributions(e, X_test), T)
    assert_array_equal(e.decision_function(X_test), p)


# states: not fitted, fitted again, pickled


@each
def test_methods_are_all_listed(name):
    public = {
        method
        for method in dir(EXPLAINERS[name])
        if not method.startswith(("_", "fit", "get_", "set_")) and not method.endswith("_")
    }
    assert public - EXPLAINERS[name].get_params().keys() == methods(EXPLAINERS[name]).keys()


LAZY = ("self_influence_", "leverage_", "global_importance_")


@each
def test_before_fit(name):
    X_test = problem(3)[2]
    e = EXPLAINERS[name]
    for method, args in methods(e).items():
        with pytest.raises(NotFittedError, match="Call 'fit'"):
            getattr(clone(e), method)(X_test, *args)
    with pytest.raises(NotFittedError):
        clone(e).get_feature_names_out()
    for attribute in LAZY:
        if hasattr(type(e), attribute):
            with pytest.raises(NotFittedError, match="Call 'fit'"):
                getattr(clone(e), attribute)


@each
@pytest.mark.parametrize("layout", ["dense64", "csr64"])
def test_rows_that_do_not_fit(name, layout):
    e, X_test = fitted(name, 3, layout), problem(3, layout)[2]
    bad, infinite = X_test.copy(), X_test.copy()
    for A, value in ((bad, np.nan), (infinite, np.inf)):
        (A.data if sparse.issparse(A) else A)[0] = value
    width = f"X has 2 features, but {type(e).__name__} is expecting 5"
    for method, args in methods(e).items():
        for X, message in [
            (X_test[:, :2], width),
            (bad, "X contains NaN"),
            (infinite, "X contains infinity"),
            (X_test[:0], r"0 sample\(s\)"),
            (reference.dense(X_test)[0], "Reshape your data"),
        ]:
            with pytest.raises(ValueError, match=message):
                getattr(e, method)(X, *args)


def state(e):
    """All public fitted attributes, lazy ones too."""
    names = {a for a in dir(e) if a.endswith("_") and not a.startswith("_")}
    return {a: getattr(e, a) for a in names}


def assert_same_state(a, b):
    assert a.keys() == b.keys()
    for key in a:
        A, B = (v.toarray() if sparse.issparse(v) else v for v in (a[key], b[key]))
        assert_array_equal(A, B, key)


@each
@pytest.mark.filterwarnings("ignore:X has feature names")  # the forest has none
def test_refit_forgets(name):
    X, y, X_test = problem(2)
    frame = pd.DataFrame(X3).add_prefix("f")
    e = fit(EXPLAINERS[name], frame, Y3.astype(str))
    first = state(e)
    assert first["n_samples_fit_"] == 9 and "feature_names_in_" in first
    e.attribute(frame)
    new = fit(EXPLAINERS[name], X, y)
    if hasattr(e, "estimator"):
        e.set_params(estimator=new.estimator)
    assert_same_state(state(e.fit(X, y)), state(new))
    assert_array_equal(attributions(e, X_test), attributions(new, X_test))
    # and of another kind of head
    if name == "Representer-forest":
        plain = RepresenterExplainer(C=0.5, tol=1e-10)
        e.set_params(estimator=None).fit(X, y)
        assert_same_state(state(e), state(plain.fit(X, y)))


@each
@two_layouts
def test_pickle(name, layout):
    X, y, X_test = problem(2, layout)
    e = fit(fitted(name, 2, layout), X, y)
    fresh = pickle.loads(pickle.dumps(e))
    expected = state(e)
    # before and after lazy attributes are there
    for read in (fresh, pickle.loads(pickle.dumps(e))):
        assert_same_state(state(read), expected)
        for target in targets(e, X_test).values():
            assert_array_equal(attributions(read, X_test, target), attributions(e, X_test, target))


@each
@two_layouts
def test_fit_transform_is_transform_after_fit(name, layout):
    X, y, _ = problem(3, layout)
    e = fitted(name, 3, layout)
    weight = {"sample_weight": np.linspace(0, 2, len(y))} if name in WEIGHTED else {}
    both = clone(e).fit_transform(X, y, **weight)
    one = clone(e).fit(X, y, **weight).transform(X)
    assert both.shape == (60, 60) and both.dtype == X.dtype
    assert_array_equal(reference.dense(both), reference.dense(one))


# corners


@each
def test_two_training_rows(name):
    X, _, X_test = problem(3)
    e = fit(EXPLAINERS[name], X[:2], [0, 1])
    k = 1 if name in SAME_CLASS else 2
    assert attributions(e, X_test).shape == (8, 2)
    assert e.top_k(X_test, k)[0].shape == (8, k)
    assert e.aggregate(X_test).shape == e.self_influence_.shape == (2,)


def test_no_row_contributes():
    # the head of a model that says nothing is zero, and so are all attributions
    X, y, X_test = problem(3)
    model = FrozenEstimator(DummyClassifier(strategy="uniform").fit(X, y))
    cases = (
        RepresenterExplainer(model).fit(X, y),
        DualViewExplainer(fit_intercept=False).fit(0 * X, y),
    )
    rows = np.tile(np.arange(3), (8, 1))
    for e in cases:
        for target in targets(e, X_test).values():
            assert (attributions(e, X_test, target) == 0).all()
            assert (e.aggregate(X_test, target) == 0).all()
            assert (e.decompose(X_test, rows, target=target) == 0).all()
            for is_largest in (True, False):
                values, indices = e.top_k(X_test, 3, target=target, largest=is_largest)
                assert (values == 0).all() and (indices == rows).all()
        assert (e.self_influence_ == 0).all()
    e = cases[0]
    assert e.support_.shape == (0,) and e.dual_coef_.shape == (3, 0)
    assert e.support_vectors_.shape == (0, 5) and (e.global_importance_ == 0).all()


@each
@pytest.mark.parametrize("layout", ["dense64", "csr64"])
def test_rows_of_zeros(name, layout):
    X, y, X_test = problem(3, layout)
    e = fit(
        EXPLAINERS[name], laid_out(reference.dense(X) * (np.arange(60) > 5)[:, None], layout), y
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        T = attributions(e, 0 * X_test, 4)
        S = attributions(e, X_test, 4)
    assert not (np.isnan(T).any() or np.isnan(S).any())
    if name in ("dot", "cosine", "same_class"):
        # exactly 0
        assert (T[np.isfinite(T)] == 0).all() and (S[:, :6][np.isfinite(S[:, :6])] == 0).all()


@each
@pytest.mark.parametrize(("dtype", "size"), [(np.float32, 1e30), (np.float64, 1e200)])
def test_rows_beyond_what_squares_hold(name, dtype, size):
    X, y, X_test = problem(3)
    e = fit(EXPLAINERS[name], X, y)
    for data in (X_test, sparse.csr_array(X_test)):
        with pytest.raises(ValueError, match="scale the features"):
            e.attribute((data * size).astype(dtype))
    if name not in ("DualView", "Influence-frozen", "Representer-forest"):
        with pytest.raises(ValueError, match="scale the features"):
            clone(EXPLAINERS[name]).fit((X * size).astype(dtype), y)


def test_cosine_has_no_scale():
    X, y, X_test = problem(3)
    expected = fit(EXPLAINERS["cosine"], X, y).attribute(X_test)
    for scale in (1e-30, 1e15):
        tiny = fit(EXPLAINERS["cosine"], (X * scale).astype(np.float32), y)
        for data in (np.asarray, sparse.csr_array):
            T = tiny.attribute(data((X_test * scale).astype(np.float32)))
            assert_allclose(reference.dense(T), expected, atol=1e-5)
