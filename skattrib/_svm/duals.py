"""How the dual variables of the Crammer-Singer problem are stored: padded rows or packed lists."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from ._crammer_singer import BLOCK, LANES

# duals are returned as a dense matrix up to this many classes, as CSR beyond
DENSE_CLASSES = 64


def aligned_zeros(shape, dtype):
    """Zeros that start at a cache line: vector loads that straddle lines take twice as long."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    buffer = np.zeros(size + 64, dtype=np.uint8)
    offset = -buffer.ctypes.data % 64
    return buffer[offset : offset + size].view(dtype).reshape(shape)


class PaddedDuals:
    """-alpha as an (n, LANES) matrix, for up to LANES classes; see kernels.h.

    `start` holds the part of -alpha outside the labels, as CSR, or is None for alpha = 0.
    """

    def __init__(self, y, n_classes, cap, dtype, start):
        self.y, self.n_classes, self.cap = y, n_classes, cap
        self.stored = aligned_zeros((len(y), LANES), dtype)
        if start is not None:
            self.stored[:, :n_classes] = start.toarray()
            rest = self.stored.sum(axis=1, dtype=np.float64)
            over = rest > cap
            self.stored[over] *= (cap[over] / rest[over])[:, None]
            self.stored[np.arange(len(y)), y] = -np.minimum(rest, cap)

    def attach(self, problem, dtype):
        problem.set_dense_duals(self.stored)

    def use_float64(self):
        stored = aligned_zeros(self.stored.shape, np.float64)
        stored[:] = self.stored
        # none of the label's mass left is an exact value, not a nearby one
        own = np.arange(len(self.y)), self.y
        stored[own] = np.where(
            -self.stored[own] >= self.cap.astype(np.float32), -self.cap, stored[own]
        )
        self.stored = stored

    def scale(self, factor, cap):
        """Multiplies by factor, for caps that are as much larger."""
        own = np.arange(len(self.y)), self.y
        none = self.stored[own] <= -self.cap.astype(self.stored.dtype)
        self.stored *= factor
        self.cap[:] = cap
        self.stored[own] = np.where(none, -cap, self.stored[own])

    def values_at(self, rows, classes=None):
        """What is stored for rows, at all classes, in float64."""
        return self.stored[rows, : self.n_classes].astype(np.float64)

    def put(self, rows, classes, values):
        """Stores new values."""
        self.stored[rows, : self.n_classes] = values

    def alpha(self, rows):
        """Feasible alpha in float64, as the kernels see it; zero outside rows."""
        alpha = np.zeros((len(self.y), self.n_classes))
        for first in range(0, len(rows), 4096):
            some = rows[first : first + 4096]
            part = self.stored[some, : self.n_classes].astype(np.float64)
            own, cap = (np.arange(len(some)), self.y[some]), self.cap[some]
            none = part[own] <= -cap.astype(self.stored.dtype)
            part[own] = 0.0
            rest = part.sum(axis=1)
            over = (rest > cap) | (none & (rest > 0))
            part[over] *= (cap[over] / rest[over])[:, None]
            part[own] = -np.where(over, cap, rest)
            alpha[some] = 0.0 - part
        return alpha


class PackedDuals:
    """-alpha as a list of (class, value) for each row, in one pool, for many classes.

    The label's class comes first on every list.
    """

    def __init__(self, y, n_classes, cap, dtype, start):
        n = len(y)
        self.y, self.n_classes, self.cap, self.dtype = y, n_classes, cap, np.dtype(dtype)
        if start is None:
            start = sp.csr_array((n, n_classes))
        start.sum_duplicates()
        row = np.repeat(np.arange(n), np.diff(start.indptr))
        rest = np.asarray(start.sum(axis=1)).ravel()
        scale = np.where(rest > cap, cap / np.where(rest > 0, rest, 1.0), 1.0)
        self._fill(row, start.indices, start.data * scale[row], -np.minimum(rest, cap))

    def _fill(self, row, classes, values, own):
        """Lays out the label's values and, row by row, the entries of other classes."""
        count = np.bincount(row, minlength=len(self.y))
        self.count = (count + 1).astype(np.int32)
        self.room = self.count + 3
        self.start = np.cumsum(self.room, dtype=np.int64) - self.room
        self.classes = np.zeros(int(self.room.sum()) + self.n_classes + 2, dtype=np.int32)
        self.values = np.zeros(len(self.classes), dtype=self.dtype)
        self.classes[self.start] = self.y
        self.values[self.start] = own
        place = self.start[row] + 1 + np.arange(len(row)) - (np.cumsum(count) - count)[row]
        self.classes[place] = classes
        self.values[place] = values

    def attach(self, problem, dtype):
        padded = -(-self.n_classes // LANES) * LANES
        problem.set_packed_duals(
            self.start,
            self.count,
            self.room,
            self.classes,
            self.values,
            int((self.start + self.room).max()),
            aligned_zeros((BLOCK + 3) * padded, dtype),
            np.empty(padded, dtype=np.int32),
        )

    def use_float64(self):
        none = self.values[self.start] <= -self.cap.astype(self.dtype)
        self.dtype = np.dtype(np.float64)
        self.values = self.values.astype(np.float64)
        self.values[self.start[none]] = -self.cap[none]

    def _entries(self):
        """Positions in the pool of all entries in use, row by row."""
        first = np.cumsum(self.count, dtype=np.int64) - self.count
        return np.repeat(self.start - first, self.count) + np.arange(self.count.sum())

    def scale(self, factor, cap):
        """Multiplies by factor, for caps that are as much larger."""
        none = self.values[self.start] <= -self.cap.astype(self.dtype)
        self.values *= factor
        self.cap[:] = cap
        self.values[self.start[none]] = -cap[none]

    def _stored(self, rows):
        """What is stored for rows, as CSR."""
        count = self.count[rows].astype(np.int64)
        first = np.cumsum(count) - count
        entries = np.repeat(self.start[rows] - first, count) + np.arange(count.sum())
        indptr = np.concatenate([[0], np.cumsum(count)])
        values = self.values[entries].astype(np.float64)
        return sp.csr_array(
            (values, self.classes[entries], indptr), shape=(len(rows), self.n_classes)
        )

    def values_at(self, rows, classes=None):
        """What is stored for rows, at all classes or the listed ones, in float64."""
        stored = self._stored(rows)
        if classes is None:
            return stored.toarray()
        out = np.empty(classes.shape)
        for first in range(0, len(rows), 4096):
            part = slice(first, first + 4096)
            out[part] = np.take_along_axis(stored[part].toarray(), classes[part], axis=1)
        return out

    def candidates(self, rows, blocks, W, least):
        """At least so many classes for each row: those on its list and then the highest scores."""
        stored = self._stored(rows)
        width = min(max(least, int(self.count.max())), self.n_classes)
        out = np.empty((len(rows), width), dtype=np.int64)
        for part, block in blocks.blocks():
            score = block @ W.T
            listed = stored[part]
            row = np.repeat(np.arange(len(score)), np.diff(listed.indptr))
            score[row, listed.indices] = np.inf
            out[part] = np.argpartition(-score, width - 1, axis=1)[:, :width]
        return out

    def put(self, rows, classes, values):
        """Stores new values; the kernels must be attached again."""
        row = np.repeat(np.arange(len(self.y)), self.count)
        entries = self._entries()
        changed = np.zeros(len(self.y), dtype=bool)
        changed[rows] = True
        keep = ~changed[row] & (self.classes[entries] != self.y[row])
        if classes is None:
            classes = np.broadcast_to(np.arange(self.n_classes), values.shape)
        label = classes == self.y[rows][:, None]
        own = self.values[self.start].astype(np.float64)
        own[rows] = values[label]
        at, k = np.nonzero(~label & (values > 0))
        row = np.concatenate([row[keep], rows[at]])
        order = np.argsort(row, kind="stable")
        new_classes = np.concatenate([self.classes[entries[keep]], classes[at, k]])
        new_values = np.concatenate([self.values[entries[keep]], values[at, k]])
        self._fill(row[order], new_classes[order], new_values[order], own)

    def grow(self, worker, checker):
        """Drops what rows have left behind and makes room for at least one more dense row."""
        entries = self._entries()
        room = self.count + 2
        start = np.cumsum(room, dtype=np.int64) - room
        used = int(room.sum())
        size = used + used // 2 + 8 * (self.n_classes + 2)
        classes, values = np.zeros(size, dtype=np.int32), np.zeros(size, dtype=self.dtype)
        to = entries + np.repeat(start - self.start, self.count)
        classes[to], values[to] = self.classes[entries], self.values[entries]
        self.classes, self.values, self.start, self.room = classes, values, start, room
        self.attach(worker, worker.state_dtype)
        self.attach(checker, checker.state_dtype)

    def alpha(self, rows):
        """Feasible alpha in float64, as the kernels see it; CSR above DENSE_CLASSES classes."""
        entries = self._entries()
        row = np.repeat(np.arange(len(self.y)), self.count)
        classes, values = self.classes[entries], self.values[entries].astype(np.float64)
        none = self.values[self.start] <= -self.cap.astype(self.dtype)
        keep = classes != self.y[row]
        row, classes, values = row[keep], classes[keep], values[keep]
        rest = np.bincount(row, weights=values, minlength=len(self.y))
        over = (rest > self.cap) | (none & (rest > 0))
        values *= np.where(over, self.cap / np.where(over, rest, 1.0), 1.0)[row]
        rest = np.where(over, self.cap, rest)
        some = np.flatnonzero(rest)
        alpha = sp.csr_array(
            (
                np.concatenate([-values, rest[some]]),
                (np.concatenate([row, some]), np.concatenate([classes, self.y[some]])),
            ),
            shape=(len(self.y), self.n_classes),
        )
        return alpha.toarray() if self.n_classes <= DENSE_CLASSES else alpha


@dataclass
class Shares:
    """Which rows repeat an earlier one: the solver sees the first, with the weight of all."""

    first: np.ndarray  # (n,) the first row of the set
    total: np.ndarray  # (n,) summed cap at first rows, 0 at their repeats

    def spread(self, dual, cap):
        """Gives each row of a set its share of the first row's duals, by weight."""
        repeats = np.flatnonzero((self.first != np.arange(len(cap))) & (cap > 0))
        if len(repeats) == 0:
            return dual
        rows = np.arange(len(cap))
        rows[repeats] = self.first[repeats]
        share = np.ones(len(cap))
        shared = np.unique(self.first[repeats])
        shared = np.concatenate([shared, repeats])
        share[shared] = cap[shared] / self.total[self.first[shared]]
        if sp.issparse(dual):
            return sp.csr_array(sp.diags_array(share) @ dual[rows])
        return dual[rows] * share[:, None]


def merge_repeated(X, y, keys, cap, usable):
    """Finds rows equal in features and label among the usable ones of positive cap."""
    first, total = np.arange(len(y)), cap.copy()
    rows = np.flatnonzero((cap > 0) & usable)
    keys = keys[rows]
    ordered = np.sort(keys)
    if (ordered[1:] != ordered[:-1]).all():
        return Shares(first, total)
    order = np.lexsort((y[rows], keys))
    same = keys[order][1:] == keys[order][:-1]
    a, b = rows[order[:-1][same]], rows[order[1:][same]]
    equal = (y[a] == y[b]) & _equal_rows(X, a, b)
    for i, j in zip(a[equal], b[equal], strict=True):
        first[j] = first[i]
    repeats = np.flatnonzero(first != np.arange(len(y)))
    np.add.at(total, first[repeats], cap[repeats])
    total[repeats] = 0.0
    return Shares(first, total)


def _equal_rows(X, a, b):
    equal = np.empty(len(a), dtype=bool)
    step = max(1, 2**20 // X.shape[1])
    for k in range(0, len(a), step):
        part = slice(k, k + step)
        if sp.issparse(X):
            # explicit zeros count in the pattern but not in the difference
            equal[part] = abs(X[a[part]] - X[b[part]]).max(axis=1).toarray().ravel() == 0
        else:
            equal[part] = (X[a[part]] == X[b[part]]).all(axis=1)
    return equal
