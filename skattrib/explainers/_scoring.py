"""Attributions block by block: dense, CSR and top-k from one walk over test and training rows."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from sklearn.utils.extmath import safe_sparse_dot

from .._arrays import batches, full, products
from .._arrays.checks import check_plain
from .._arrays.outputs import label_directions
from ._scoring_kernels import repeat, scatter, update_top

# a block is at most this many test rows x training rows: it stays in the second-level cache
ROWS, COLUMNS = 256, 2048


@dataclass
class Target:
    """What is explained at m test rows: classes (m,), or logit weights (m, K)."""

    codes: np.ndarray | None
    weights: np.ndarray | None = None

    def as_weights(self, n_classes):
        """The logit weights (m, K)."""
        return label_directions(n_classes)[self.codes] if self.weights is None else self.weights

    def rows(self, rows):
        """The target of some of the test rows."""
        part = [None if given is None else given[rows] for given in (self.codes, self.weights)]
        return Target(*part)


@dataclass
class Group:
    """Test rows whose attributions lie in the same training rows."""

    rows: np.ndarray  # positions of the test rows
    columns: np.ndarray  # positions among the support rows
    coef: np.ndarray | None = None  # (len(columns),), or None: from `weights`
    weights: np.ndarray | None = None  # (len(rows), K)


class Kernel(ABC):
    """The training side of attributions: T[j, i] = coefficient[j, i] value[j, i].

    Parameters
    ----------
    support : (n_support,) indices of the training rows that may have attributions, increasing
    vectors : (n_support, d) array or CSR
    n_samples : training rows, support or not
    absent : T where no group has the column
    """

    absent = 0.0

    def __init__(self, support, vectors, n_samples):
        self.support, self.vectors, self.n_samples = support, vectors, n_samples

    def read(self):
        """Training rows that are read while attributions are written."""
        return [self.vectors]

    @abstractmethod
    def groups(self, target):
        """Groups that together hold all test rows of the target once."""

    @abstractmethod
    def values(self, part, vectors):
        """Values of some test rows x training rows of one float type."""

    @abstractmethod
    def shares(self, X, indices, target):
        """The features' shares of T[j, indices[j, q]], (m, k, d); as (m k, d) CSR if X is CSR."""

    def coefficients(self, group, rows, columns, dtype):
        """Coefficients of a block, (1, columns) if the test rows share them."""
        return np.ascontiguousarray(group.coef[None, columns], dtype=dtype)

    def blocks(self, X, groups):
        """Yields (group, rows, columns, coefficients, values), positions being in the group."""
        for group in groups:
            for columns in batches(len(group.columns), COLUMNS):
                vectors = self.vectors[group.columns[columns]].astype(X.dtype, copy=False)
                for rows in batches(len(group.rows), ROWS):
                    values = self.values(X[group.rows[rows]], vectors)
                    coef = self.coefficients(group, rows, columns, X.dtype)
                    yield group, rows, columns, coef, values

    def aggregate(self, X, target, weights):
        """sum_j weights_j T[j, :] in float64; absent entries count nothing."""
        out = np.zeros(self.n_samples)
        for group, rows, columns, coef, values in self.blocks(X, self.groups(target)):
            share = weights[group.rows[rows]] @ np.multiply(coef, values, dtype=np.float64)
            out[self.support[group.columns[columns]]] += share
        return out


class DualKernel(Kernel):
    """T[j, i] = (v_j . alpha_i) (phi_i . phi_j + bias); dual (K, n_support) holds the alpha_i."""

    def __init__(self, dual, support, vectors, bias, n_samples):
        super().__init__(support, vectors, n_samples)
        self.dual, self.bias = dual, bias
        self._buffer = {}

    def groups(self, target):
        """One group for each class, with the rows that have a coefficient; weights: one group."""
        if target.weights is not None:
            rows, columns = np.arange(len(target.weights)), np.arange(len(self.support))
            yield Group(rows, columns, None, target.weights)
            return
        directions = label_directions(self.dual.shape[0])
        for c in np.unique(target.codes):
            coef = np.asarray(directions[c] @ self.dual).ravel()
            columns = np.flatnonzero(coef)
            yield Group(np.flatnonzero(target.codes == c), columns, coef[columns])

    def coefficients(self, group, rows, columns, dtype):
        """V . alpha of a block."""
        if group.weights is None:
            return super().coefficients(group, rows, columns, dtype)
        part = self.dual[:, group.columns[columns]]
        return np.ascontiguousarray(group.weights[rows] @ part, dtype=dtype)

    def values(self, part, vectors):
        """Phi . phi + bias of a block; overwritten by the next call."""
        if sp.issparse(part) or sp.issparse(vectors):
            block = products(part, vectors)
        else:
            shape = part.shape[0], vectors.shape[0]
            if part.dtype not in self._buffer:
                self._buffer[part.dtype] = np.empty(ROWS * COLUMNS, dtype=part.dtype)
            block = self._buffer[part.dtype][: shape[0] * shape[1]].reshape(shape)
            np.matmul(part, vectors.T, out=block)
        if self.bias:
            block += part.dtype.type(self.bias)
        return block

    def aggregate(self, X, target, weights):
        """sum_j weights_j T[j, :], by way of sum_j weights_j v_j phi_j."""
        return self.against(self.moment(X, target, weights))

    def moment(self, X, target, weights):
        """sum_j weights_j v_j (x_j, bias), (K, d + 1)."""
        V = target.as_weights(self.dual.shape[0]) * weights[:, None]
        total = np.zeros((V.shape[1], X.shape[1]))
        for rows in batches(X.shape[0], 4096):
            total += safe_sparse_dot(V[rows].T, X[rows].astype(np.float64), dense_output=True)
        return np.column_stack([total, self.bias * V.sum(axis=0)])

    def against(self, moment):
        """The sum over test rows that have this moment."""
        total, shift = moment[:, :-1], moment[:, -1]
        out = np.zeros(self.n_samples)
        for columns in batches(len(self.support), 4096):
            vectors = self.vectors[columns].astype(np.float64)
            scores = safe_sparse_dot(vectors, total.T, dense_output=True) + shift
            dual = self.dual[:, columns]
            parts = dual.multiply(scores.T).sum(axis=0) if sp.issparse(dual) else None
            out[self.support[columns]] = (
                np.einsum("kc,ck->c", dual, scores) if parts is None else np.asarray(parts).ravel()
            )
        return out

    def shares(self, X, indices, target):
        """(v_j . alpha_i) phi_ik phi_jk; the bias has the rest."""
        weights = target.as_weights(self.dual.shape[0])
        place = np.searchsorted(self.support, indices)
        known = np.isin(indices, self.support)
        coef = np.zeros(indices.shape)
        for j in np.flatnonzero(known.any(axis=1)):
            coef[j, known[j]] = np.asarray(weights[j] @ self.dual[:, place[j, known[j]]]).ravel()
        place[~known] = 0
        if sp.issparse(X):
            return row_products(X, self.vectors, place, coef)
        out = np.zeros((*indices.shape, X.shape[1]), dtype=X.dtype)
        for j in np.flatnonzero(known.any(axis=1)):
            vectors = full(self.vectors[place[j, known[j]]])
            out[j, known[j]] = coef[j, known[j], None] * vectors * X[j]
        return out


def row_products(X, vectors, place, coef):
    """Rows j k + q: coef[j, q] X[j] * vectors[place[j, q]], as CSR (m k, d) of the type of X."""
    m, k = place.shape
    if not vectors.shape[0]:
        return sp.csr_array((m * k, X.shape[1]), dtype=X.dtype)
    parts = []
    for rows in batches(m, max(1, 4096 // max(k, 1))):
        left = sp.csr_array(X[np.repeat(np.arange(rows.start, rows.stop), k)])
        scale = sp.diags_array(coef[rows].ravel())
        parts.append(sp.csr_array((scale @ left).multiply(vectors[place[rows].ravel()])))
    out = sp.csr_array(sp.vstack(parts), dtype=X.dtype) if parts else sp.csr_array(X[:0])
    out.eliminate_zeros()
    return out


class ProductKernel(Kernel):
    """T[j, i] = sum_q right[i, q] left[j, q] . (phi_i, 1), where `left` is found for each test row.

    right is (n_support, q); left rows are as wide as phi, or wider by the constant feature.
    """

    def __init__(self, right, support, vectors, n_samples):
        super().__init__(support, vectors, n_samples)
        self.right = right

    @abstractmethod
    def left(self, X, group, rows):
        """Left sides of test rows X of a group, (len(X), q, d or d + 1) in float64."""

    def groups(self, target):
        """All test rows and all support rows."""
        V = target.as_weights(self.right.shape[1])
        yield Group(np.arange(len(V)), np.arange(len(self.support)), None, V)

    def values(self, part, vectors):
        """sum_q of a block; `part` is (right transposed (q, n), left (m, q, d))."""
        right, left = part
        m, q, width = left.shape
        d = vectors.shape[1]
        block = products(left[:, :, :d].reshape(m * q, d), vectors).reshape(m, q, -1)
        if width > d:
            block += left[:, :, d:]
        block *= right
        return block.sum(axis=1)

    def blocks(self, X, groups):
        """As for every kernel, but over test rows first: a left side is dear."""
        for group in groups:
            one = np.ones((1, COLUMNS), dtype=X.dtype)
            right = self.right[group.columns].T.astype(X.dtype)
            # left sides of 32 MB at most, and blocks that stay in the cache
            height = min(ROWS, max(1, 2**22 // (len(right) * (X.shape[1] + 1))))
            width = min(COLUMNS, max(64, ROWS * COLUMNS // (height * len(right))))
            for rows in batches(len(group.rows), height):
                left = self.left(X[group.rows[rows]], group, rows).astype(X.dtype, copy=False)
                for columns in batches(len(group.columns), width):
                    vectors = self.vectors[group.columns[columns]].astype(X.dtype, copy=False)
                    block = self.values((right[:, columns], left), vectors)
                    yield group, rows, columns, one[:, : block.shape[1]], block


def check_out(out, shape, read):
    """Refuses an `out` that cannot hold the attributions, or is among the rows that are read."""
    dtype = read[0].dtype
    if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != dtype:
        raise ValueError(f"out must be an array of shape {shape} and type {dtype}")
    check_plain(out, "out")
    if not (out.flags.writeable and out.flags.c_contiguous):
        raise ValueError("out must be writeable and in C order")
    parts = [part.data if sp.issparse(part) else part for part in read]
    if any(isinstance(part, np.ndarray) and np.may_share_memory(out, part) for part in parts):
        raise ValueError(
            "out shares memory with X or the training rows, which are read while it is written: "
            "give an array of its own"
        )


def dense(kernel, X, groups, out):
    """Writes T into out (m, n), in C order."""
    out[...] = kernel.absent
    flat = out.reshape(-1)
    for group, rows, columns, coef, block in kernel.blocks(X, groups):
        starts = group.rows[rows] * out.shape[1]
        scatter(block, coef, starts, kernel.support[group.columns[columns]], flat)
    return out


def csr(kernel, X, groups):
    """T as CSR, without the training rows that are not in the groups."""
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
        support = kernel.support[group.columns].astype(indices.dtype)
        repeat(support, indptr[group.rows], indices)
    for group, rows, columns, coef, block in kernel.blocks(X, groups):
        places = np.arange(columns.start, columns.stop)
        scatter(block, coef, indptr[group.rows[rows]], places, data)
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
        if kernel.absent == 0:
            # training rows outside the group attribute exactly 0
            zeros = _first_missing(kernel.support[group.columns], k, n)
            values[group.rows, : len(zeros)] = 0
            indices[group.rows, : len(zeros)] = zeros
        # heaps: the root is the worst
        values[group.rows] = values[group.rows, ::-1]
        indices[group.rows] = indices[group.rows, ::-1]
    for group, rows, columns, coef, block in kernel.blocks(X, groups):
        support = kernel.support[group.columns[columns]]
        update_top(block, sign * coef, group.rows[rows], support, values, indices)
    order = np.lexsort((indices, -values), axis=1)
    values = sign * np.take_along_axis(values, order, axis=1)
    return values + 0, np.take_along_axis(indices, order, axis=1)


def _first_missing(present, k, n):
    """The first k of range(n) that are not in the sorted array `present`, or all of them."""
    candidates = np.arange(min(n, len(present) + k))
    return np.setdiff1d(candidates, present[: len(candidates)], assume_unique=True)[:k]
