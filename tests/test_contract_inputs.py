"""What rows and labels may be: memory maps, CSR in any state, number types, orders, labels."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import reference
from cases import (
    EXPLAINERS,
    HEADS,
    NO_SHARES,
    SAME_CLASS,
    WEIGHTED,
    assert_agree,
    attributions,
    each,
    each_fit,
    fit,
    fitted,
    laid_out,
    peak,
    problem,
    shares,
    targets,
)
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.frozen import FrozenEstimator

from skattrib import (
    DualViewExplainer,
    LinearHead,
    RepresenterExplainer,
)


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
    if name not in NO_SHARES:
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


@each_fit
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
    if name not in NO_SHARES:
        assert_agree(shares(e, test, rows), shares(expected, X_test, rows), 1e-12)
    if name in HEADS:
        e.target_weights(test, "margin")
    for A, B, copied in zip((train, test), parts, before, strict=True):
        for now, given, then in zip((A.data, A.indices, A.indptr), B, copied, strict=True):
            assert_array_equal(now, then)
            assert_array_equal(given, then)


@each_fit
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


@pytest.mark.parametrize(
    "name", [name for name in EXPLAINERS if name not in ("Representer-forest", "LeaveOneOut")]
)
def test_64_bit_indices(name):
    X, y, X_test = problem(3, "csr64")
    wide = [
        sparse.csr_array((A.data, A.indices.astype(np.int64), A.indptr.astype(np.int64)), A.shape)
        for A in (X, X_test)
    ]
    assert wide[0].indices.dtype == np.int64
    expected = fitted(name, 3, "csr64")
    assert_agree(attributions(fit(expected, wide[0], y), wide[1]), attributions(expected, X_test))


@each_fit
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


@each_fit
@pytest.mark.parametrize("dtype", ["Float64", "Int64", "float64[pyarrow]"])
def test_columns_that_may_lack_values(name, dtype):
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 9, size=(30, 3)).astype(np.float64), np.arange(30) % 3
    expected = fit(EXPLAINERS[name], X, y)
    frame = pd.DataFrame(X).add_prefix("f").astype(dtype)
    e = clone(expected).fit(frame, y)
    T = e.attribute(frame[:4], out=np.empty((4, 30)))
    assert_array_equal(T, attributions(expected, X[:4]))
    frame.loc[5, "f1"] = pd.NA
    with pytest.raises(ValueError, match="X contains NaN"):
        clone(e).fit(frame, y)


@each_fit
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


@each_fit
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


@pytest.mark.parametrize(
    # which leave out a row of each class
    "name",
    [name for name in EXPLAINERS if name not in ("DualViewCV", "LeaveOneOut")],
)
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


@each_fit
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
    if name not in ("DualView", "DualViewCV", "Influence-frozen", "Representer-forest"):
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
