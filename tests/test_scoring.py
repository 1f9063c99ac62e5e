"""Blocks of attributions: what lands where, whatever the number of test and training rows."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from skattrib.explainers._scoring import COLUMNS, ROWS, DualKernel, Target, csr, dense

RNG = np.random.default_rng(0)


def kernel_of(support, n, K=4, d=3, dtype=np.float64):
    """A kernel with random duals, a third of them 0, and its attributions by the formula."""
    vectors = RNG.standard_normal((len(support), d)).astype(dtype)
    dual = RNG.standard_normal((K, len(support))) * (RNG.random((K, len(support))) > 1 / 3)
    return DualKernel(dual, np.asarray(support), vectors, 1.0, n)


def expected(kernel, X, codes):
    return kernel.dual[codes] * (X @ kernel.vectors.T + kernel.bias)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("m", [1, ROWS + 3])
@pytest.mark.parametrize("gaps", [False, True])
def test_csr_holds_the_rows_with_a_coefficient(dtype, m, gaps):
    n = 3 * COLUMNS
    support = np.arange(n)[:: 2 if gaps else 1]
    kernel = kernel_of(support, n, dtype=dtype)
    X, codes = RNG.standard_normal((m, 3)).astype(dtype), RNG.integers(4, size=m)
    T = csr(kernel, X, kernel.groups(Target(codes)))
    assert T.dtype == dtype and T.indices.dtype == np.int32
    for j in range(m):
        stored = np.flatnonzero(kernel.dual[codes[j]])
        one = slice(T.indptr[j], T.indptr[j + 1])
        assert_array_equal(T.indices[one], support[stored])
        rtol = 1e-4 if dtype == np.float32 else 1e-12
        values = expected(kernel, X[[j]], codes[[j]])[0, stored]
        assert_allclose(T.data[one], values, rtol=rtol, atol=rtol)
    out = np.full((m, n), np.nan, dtype=dtype)
    assert_array_equal(dense(kernel, X, kernel.groups(Target(codes)), out), T.toarray())


def test_training_rows_beyond_32_bits():
    support = np.array([0, 7, 2**31 - 1, 2**31 + 5])
    kernel = kernel_of(support, 2**31 + 6)
    X, codes = RNG.standard_normal((5, 3)), np.array([0, 1, 2, 3, 1])
    T = csr(kernel, X, kernel.groups(Target(codes)))
    assert T.indices.dtype == T.indptr.dtype == np.int64
    # SciPy's own indexing would count all columns
    columns = np.searchsorted(support, T.indices)
    assert_array_equal(support[columns], T.indices)
    found = sparse.csr_array((T.data, columns, T.indptr), shape=(5, 4))
    assert_allclose(found.toarray(), expected(kernel, X, codes))


def test_rows_without_any_coefficient():
    kernel = kernel_of(np.arange(5), 5)
    kernel.dual[2] = 0
    T = csr(kernel, np.ones((3, 3)), kernel.groups(Target(np.array([2, 0, 2]))))
    assert_array_equal(np.diff(T.indptr) > 0, [False, True, False])
