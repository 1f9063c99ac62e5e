"""attribute in all its forms: dense, CSR, one row, blocks, `out`."""

import copy

import numpy as np
import pytest
from cases import (
    AGREE,
    CASES,
    EXPLAINERS,
    LAYOUTS,
    NO_SHARES,
    SAME_CLASS,
    SPARSE,
    assert_agree,
    assert_close,
    attributions,
    each,
    each_fit,
    everything,
    excluded,
    fit,
    fitted,
    labels_of,
    largest,
    n_classes,
    problem,
    targets,
    two_layouts,
)
from numpy.testing import assert_array_equal
from scipy import sparse

from skattrib.explainers import _scoring as scoring


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
        elif name.startswith("DualView"):
            outside = np.setdiff1d(np.arange(X.shape[0]), a.support_)
            assert not np.isin(S.indices, outside).any(), form
        assert_array_equal(S.toarray(), T)


@each_fit
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
        if name not in NO_SHARES:
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
