"""Attributions block by block: dense, CSR and top-k from one walk over test and training rows."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from sklearn.utils.extmath import safe_sparse_dot

from .._arrays import batches, full, products, row_batches
from .._arrays.checks import check_plain
from .._arrays.outputs import label_directions
from .._arrays.row_blocks import in_files, maps_a_file_of
from ._scoring_kernels import repeat, scatter, update_top

# a block is at most this many test rows x training rows: it stays in the second-level cache
ROWS, COLUMNS = 256, 2048


@dataclass
class Target:
    """What is explained at m test rows: classes (m,), or logit weights (m, K)."""

    codes: np.ndarray | None
    weights: np.ndarray | None = None

    @staticmethod
    def directions(codes, n_classes):
        """The logit weights that classes mean, (len(codes), K)."""
        return label_directions(n_classes)[codes]

    def as_weights(self, n_classes):
        """The logit weights (m, K)."""
        return self.directions(self.codes, n_classes) if self.weights is None else self.weights

    def rows(self, rows):
        """The target of some of the test rows."""
        part = [None if given is None else given[rows] for given in (self.codes, self.weights)]
        return type(self)(*part)


class UnitTarget(Target):
    """What is explained of a regression: units (m,), or weights of them (m, U)."""

    @staticmethod
    def directions(codes, n_classes):
        """Weights of one unit each."""
        return (codes[:, None] == np.arange(n_classes)).astype(np.float64)


@dataclass
class Pairs:
    """A test row and a training row at each place, and the target of all test rows."""

    tests: np.ndarray
    rows: np.ndarray
    target: Target


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
    side : whose features share attributions, those of the test or of the training row
    """

    absent = 0.0
    side = "test"

    def __init__(self, support, vectors, n_samples):
        self.support, self.vectors, self.n_samples = support, vectors, n_samples

    def read(self):
        """Training rows that are read while attributions are written."""
        return [self.vectors]

    def as_kept(self, X):
        """Rows in the coordinates of `vectors`."""
        return X

    def mismatch(self, X, rows):
        """Largest difference of each row of X from a training row, over the largest number of that.

        0 for rows that are not kept, whose attributions are 0.
        """
        at = np.searchsorted(self.support, rows)
        known = at < len(self.support)
        known[known] = self.support[at[known]] == rows[known]
        kept = full(self.vectors[at[known]])
        scale = np.abs(kept).max(axis=1, initial=np.finfo(np.float32).tiny)
        out = np.zeros(len(rows))
        out[known] = np.abs(self.as_kept(X[known]) - kept).max(axis=1, initial=0.0) / scale
        return out

    @abstractmethod
    def groups(self, target):
        """Groups that together hold all test rows of the target once."""

    @abstractmethod
    def values(self, part, vectors):
        """Values of some test rows x training rows of one float type."""

    @abstractmethod
    def directions(self, X, pairs, side):
        """Yields (places, rows): T of these pairs is rows . phi of the side, but for a bias.

        Where a place comes twice its rows add up; where it does not come they are zero.
        """

    def shares(self, X, pairs):
        """Yields (places, rows): the features' shares of T."""
        for at, found in self.directions(X, pairs, self.side):
            own = X[pairs.tests[at]] if self.side == "test" else self.vectors[pairs.rows[at]]
            if sp.issparse(own) and not sp.issparse(found):
                own, found = found, own
            yield at, found.multiply(own) if sp.issparse(found) else found * own

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
                # the next are read without these beside them
                del vectors

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
        classes = np.unique(target.codes)
        directions = target.directions(classes, self.dual.shape[0])
        for c, direction in zip(classes, directions, strict=True):
            coef = np.asarray(direction @ self.dual).ravel()
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
        for rows in row_batches(X):
            total += safe_sparse_dot(V[rows].T, X[rows].astype(np.float64), dense_output=True)
        return np.column_stack([total, self.bias * V.sum(axis=0)])

    def against(self, moment):
        """The sum over test rows that have this moment."""
        total, shift = moment[:, :-1], moment[:, -1]
        out = np.zeros(self.n_samples)
        for columns in row_batches(self.vectors):
            vectors = self.vectors[columns].astype(np.float64)
            scores = safe_sparse_dot(vectors, total.T, dense_output=True) + shift
            dual = self.dual[:, columns]
            parts = dual.multiply(scores.T).sum(axis=0) if sp.issparse(dual) else None
            out[self.support[columns]] = (
                np.einsum("kc,ck->c", dual, scores) if parts is None else np.asarray(parts).ravel()
            )
        return out

    def directions(self, X, pairs, side):
        """(v_j . alpha_i) times the row of the other side."""
        weights = pairs.target.as_weights(self.dual.shape[0])
        place = np.searchsorted(self.support, pairs.rows)
        known = np.flatnonzero(np.isin(pairs.rows, self.support))
        for part in pair_batches(len(known), X, self.vectors):
            at = known[part]
            alpha, V = self.dual[:, place[at]], weights[pairs.tests[at]]
            if sp.issparse(alpha):
                coef = np.asarray(alpha.multiply(V.T).sum(axis=0)).ravel()
            else:
                coef = np.einsum("kp,pk->p", alpha, V)
            other = self.vectors[place[at]] if side == "test" else X[pairs.tests[at]]
            yield at, scaled(other, coef)


def pair_batches(n, *rows):
    """Slices of n pairs whose rows stay in the cache."""
    dense = [part.shape[1] for part in rows if not sp.issparse(part)]
    return batches(n, max(1, min(4096, 2**16 // max(dense, default=1))))


def scaled(rows, factors):
    """Rows times one factor each, in float64."""
    if not sp.issparse(rows):
        return factors[:, None] * rows
    data = rows.data * np.repeat(factors, np.diff(rows.indptr))
    return sp.csr_array((data, rows.indices, rows.indptr), shape=rows.shape)


def of_pairs(found, shape, X):
    """What kernels yield of (m, k) pairs as (m, k, d), or if X is CSR as CSR (m k, d)."""
    (m, k), d = shape, X.shape[1]
    if not sp.issparse(X):
        out = np.zeros((m * k, d), dtype=X.dtype)
        for at, rows in found:
            out[at] += full(rows)
        return out.reshape(m, k, d)
    parts = [(at, sp.coo_array(rows)) for at, rows in found]
    entries = [(part.data, at[part.coords[0]], part.coords[1]) for at, part in parts]
    none = np.zeros(0), np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.intp)
    data, *places = map(np.concatenate, zip(none, *entries, strict=True))
    out = sp.csr_array((data.astype(X.dtype), tuple(places)), shape=(m * k, d))
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
    if any(
        maps_a_file_of(part, out)
        if in_files(part)
        else isinstance(part, np.ndarray) and np.may_share_memory(out, part)
        for part in parts
    ):
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
