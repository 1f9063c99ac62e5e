"""Attributions block by block: dense, CSR and top-k from one walk over test and training rows."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from sklearn.utils import gen_batches
from sklearn.utils.extmath import row_norms, safe_sparse_dot

from ._scoring_kernels import scatter, update_top

# a block is at most this many test rows x training rows: it stays in the second-level cache
ROWS, COLUMNS = 256, 2048


def batches(n, size):
    """Slices of at most `size` that cover range(n); none if n is 0."""
    return gen_batches(n, size) if n else ()


@dataclass
class Kernel:
    """The training side of T[j, i] = coef[j, i] (phi_i . phi_j + bias)."""

    dual: np.ndarray | sp.csr_array  # (K, n_support), coefficients of the K logits
    support: np.ndarray  # (n_support,) indices of training rows, increasing
    vectors: np.ndarray | sp.csr_array  # (n_support, d)
    bias: float
    n_samples: int  # training rows, support or not

    def label_coef(self, direction):
        """Coefficients of the support rows for one direction in logit space."""
        return np.asarray(direction @ self.dual).ravel()


@dataclass
class Group:
    """Test rows whose non-zero attributions lie in the same training rows."""

    rows: np.ndarray  # positions of the test rows
    columns: np.ndarray  # positions among the support rows
    coef: np.ndarray | None  # (len(columns),), or None: from `weights`
    weights: np.ndarray | None = None  # (len(rows), K)

    def coefficients(self, kernel, rows, columns, dtype):
        """The coefficients of a block, one row if the test rows share them."""
        if self.coef is not None:
            return np.ascontiguousarray(self.coef[None, columns], dtype=dtype)
        part = kernel.dual[:, self.columns[columns]]
        return np.ascontiguousarray(self.weights[rows] @ part, dtype=dtype)


def label_groups(kernel, codes, directions):
    """One group for each class among codes (m,); directions (K, K) are the classes' targets."""
    for c in np.unique(codes):
        coef = kernel.label_coef(directions[c])
        columns = np.flatnonzero(coef)
        yield Group(np.flatnonzero(codes == c), columns, coef[columns])


def weight_groups(kernel, weights):
    """All test rows as one group, with logit weights (m, K)."""
    yield Group(np.arange(len(weights)), np.arange(len(kernel.support)), None, np.asarray(weights))


def _walk(kernel, X, groups):
    """Yields (group, rows, columns, coef, block): positions in the group, then the values."""
    dtype = X.dtype
    buffer = np.empty(ROWS * COLUMNS, dtype=dtype)
    for group in groups:
        for columns in batches(len(group.columns), COLUMNS):
            vectors = kernel.vectors[group.columns[columns]].astype(dtype, copy=False)
            for rows in batches(len(group.rows), ROWS):
                part = X[group.rows[rows]]
                if sp.issparse(part) or sp.issparse(vectors):
                    block = safe_sparse_dot(part, vectors.T, dense_output=True)
                    block = np.ascontiguousarray(block)
                else:
                    shape = part.shape[0], vectors.shape[0]
                    block = buffer[: shape[0] * shape[1]].reshape(shape)
                    np.matmul(part, vectors.T, out=block)
                if kernel.bias:
                    block += dtype.type(kernel.bias)
                yield group, rows, columns, group.coefficients(kernel, rows, columns, dtype), block


def dense(kernel, X, groups, out):
    """Writes T into out (m, n)."""
    out[...] = 0
    for group, rows, columns, coef, block in _walk(kernel, X, groups):
        scatter(block, coef, group.rows[rows], kernel.support[group.columns[columns]], out)
    return out


def csr(kernel, X, groups):
    """T as CSR, without the training rows whose coefficient is zero."""
    m = X.shape[0]
    groups = list(groups)
    count = np.zeros(m, dtype=np.int64)
    for group in groups:
        count[group.rows] = len(group.columns)
    indptr = np.concatenate([[0], np.cumsum(count)])
    large = max(indptr[-1], kernel.n_samples) > np.iinfo(np.int32).max
    data = np.empty(indptr[-1], dtype=X.dtype)
    indices = np.empty(indptr[-1], dtype=np.int64 if large else np.int32)
    for group in groups:
        support = kernel.support[group.columns]
        for row in group.rows:
            indices[indptr[row] : indptr[row + 1]] = support
    for group, rows, columns, coef, block in _walk(kernel, X, groups):
        block *= coef
        for position, row in enumerate(group.rows[rows]):
            first = indptr[row]
            data[first + columns.start : first + columns.stop] = block[position]
    T = sp.csr_array(
        (data, indices, indptr.astype(indices.dtype)), shape=(m, kernel.n_samples), copy=False
    )
    T.has_canonical_format = True
    return T


def top_k(kernel, X, groups, k, largest):
    """The k largest (or smallest) of each row of T and where they are, ties to the first row."""
    m, n = X.shape[0], kernel.n_samples
    sign = X.dtype.type(1 if largest else -1)
    # places not yet taken: behind everything
    values = np.full((m, k), -np.inf, dtype=X.dtype)
    indices = np.full((m, k), n, dtype=np.int64)
    groups = list(groups)
    for group in groups:
        # training rows outside the group attribute exactly 0
        zeros = _first_missing(kernel.support[group.columns], k, n)
        values[group.rows, : len(zeros)] = 0
        indices[group.rows, : len(zeros)] = zeros
        # heaps: the root is the worst
        values[group.rows] = values[group.rows, ::-1]
        indices[group.rows] = indices[group.rows, ::-1]
    for group, rows, columns, coef, block in _walk(kernel, X, groups):
        support = kernel.support[group.columns[columns]]
        update_top(block, sign * coef, group.rows[rows], support, values, indices)
    order = np.lexsort((indices, -values), axis=1)
    values = sign * np.take_along_axis(values, order, axis=1)
    return values + 0, np.take_along_axis(indices, order, axis=1)


def _first_missing(present, k, n):
    """The first k of range(n) that are not in the sorted array `present`, or all of them."""
    candidates = np.arange(min(n, len(present) + k))
    return np.setdiff1d(candidates, present[: len(candidates)], assume_unique=True)[:k]


def aggregate(kernel, X, weights):
    """sum_j of weights[j] . alpha_i (phi_i . phi_j + bias), over test rows, in float64."""
    total = np.zeros((weights.shape[1], X.shape[1]))
    for rows in batches(X.shape[0], 4096):
        part = X[rows].astype(np.float64)
        total += safe_sparse_dot(weights[rows].T, part, dense_output=True)
    shift = kernel.bias * weights.sum(axis=0)
    out = np.zeros(kernel.n_samples)
    for columns in batches(len(kernel.support), 4096):
        vectors = kernel.vectors[columns].astype(np.float64)
        scores = safe_sparse_dot(vectors, total.T, dense_output=True) + shift
        dual = kernel.dual[:, columns]
        parts = dual.multiply(scores.T).sum(axis=0) if sp.issparse(dual) else None
        out[kernel.support[columns]] = (
            np.einsum("kc,ck->c", dual, scores) if parts is None else np.asarray(parts).ravel()
        )
    return out


def squared_norms(X, bias):
    """||phi||^2 of each row in float64, with the constant feature if there is one."""
    out = np.empty(X.shape[0])
    for rows in batches(X.shape[0], 4096):
        out[rows] = row_norms(X[rows].astype(np.float64), squared=True)
    return out + bias
