"""How the dual variables of the Crammer-Singer problem are stored: padded rows or packed lists."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from ._crammer_singer import LANES, pack_lists, support_sizes

# duals are returned as a dense matrix up to this many classes, as CSR beyond
DENSE_CLASSES = 64


def aligned_zeros(shape, dtype):
    """Zeros that start at a cache line: vector loads that straddle lines take twice as long."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    buffer = np.zeros(size + 64, dtype=np.uint8)
    offset = -buffer.ctypes.data % 64
    return buffer[offset : offset + size].view(dtype).reshape(shape)


def _feasible(start, cap):
    """A start as (row, class, value), scaled to at most cap a row, and the labels' values."""
    start.sum_duplicates()
    row = np.repeat(np.arange(len(cap)), np.diff(start.indptr))
    values = np.minimum(start.data, cap[row])
    rest = np.bincount(row, weights=values, minlength=len(cap))
    scale = np.divide(cap, rest, out=np.ones(len(cap)), where=rest > cap)
    return row, start.indices, values * scale[row], -np.minimum(rest, cap)


class _Duals:
    """What both kinds share: `values` is -alpha as stored, `own` the place of the labels' in it."""

    def _none_left(self):
        """Rows with nothing of their mass left at the label: an exact value, not one nearby."""
        return self.values[self.own] <= -self.cap.astype(self.values.dtype)

    def _keep_none_left(self, none):
        self.values[self.own] = np.where(none, -self.cap, self.values[self.own])

    def use_float64(self):
        """Stores float64; the kernels must be attached again."""
        none = self._none_left()
        values = aligned_zeros(self.values.shape, np.float64)
        values[:] = self.values
        self.values = values
        self._keep_none_left(none)

    def scale(self, factor, cap):
        """Multiplies by factor, for caps that are as much larger."""
        none = self._none_left()
        self.values *= factor
        self.cap[:] = cap
        self._keep_none_left(none)


class PaddedDuals(_Duals):
    """-alpha as an (n, LANES) matrix, for up to LANES classes; see kernels.h.

    `start` holds the part of -alpha outside the labels, as CSR, or is None for alpha = 0.
    """

    def __init__(self, y, n_classes, cap, dtype, start):
        self.n_classes, self.cap, self.y = n_classes, cap, y
        self.values = aligned_zeros((len(y), LANES), dtype)
        if start is not None:
            row, classes, values, own = _feasible(start, cap)
            self.values[row, classes] = values
            self.values[self.own] = own

    @property
    def own(self):
        return np.arange(len(self.y)), self.y

    def attach(self, problem):
        problem.set_dense_duals(self.values)

    def values_at(self, rows, classes=None):
        """What is stored for rows, at all classes, in float64."""
        return self.values[rows, : self.n_classes].astype(np.float64)

    def put(self, rows, classes, values):
        """Stores new values."""
        self.values[rows, : self.n_classes] = values

    def alpha(self, problem, rows):
        """Feasible alpha in float64, as the kernels see it; zero outside rows."""
        alpha = np.zeros((len(self.values), self.n_classes))
        part = np.empty((4096, LANES))
        for first in range(0, len(rows), 4096):
            some = rows[first : first + 4096]
            problem.alphas(some, part.ravel())
            alpha[some] = part[: len(some), : self.n_classes]
        return alpha


class PackedDuals(_Duals):
    """-alpha as a list of (class, value) for each row, in one pool, for many classes.

    The label's class comes first on every list.
    """

    def __init__(self, y, n_classes, cap, dtype, start):
        n = len(y)
        self.y, self.n_classes, self.cap = y, n_classes, cap
        self.values = np.empty(0, dtype)
        if start is None:
            start = sp.csr_array((n, n_classes))
        self._fill(*_feasible(start, cap))

    def _fill(self, row, classes, values, own):
        """Lays out the label's values and, row by row, the entries of other classes."""
        count = np.bincount(row, minlength=len(self.y))
        self.count = (count + 1).astype(np.int32)
        self.room = self.count + 3
        self.start = np.cumsum(self.room, dtype=np.int64) - self.room
        self.classes = np.zeros(int(self.room.sum()) + self.n_classes + 2, dtype=np.int32)
        self.values = np.zeros(len(self.classes), dtype=self.values.dtype)
        self.classes[self.start] = self.y
        self.values[self.start] = own
        place = self.start[row] + 1 + np.arange(len(row)) - (np.cumsum(count) - count)[row]
        self.classes[place] = classes
        self.values[place] = values

    def attach(self, problem):
        problem.set_packed_duals(
            self.start,
            self.count,
            self.room,
            self.classes,
            self.values,
            int((self.start + self.room).max()),
        )

    @property
    def own(self):
        return self.start

    def _entries(self, rows=slice(None)):
        """Positions in the pool of the entries in use of rows, row by row."""
        count = self.count[rows]
        first = np.cumsum(count, dtype=np.int64) - count
        return np.repeat(self.start[rows] - first, count) + np.arange(count.sum())

    def _stored(self, rows):
        """What is stored for rows, as CSR."""
        entries = self._entries(rows)
        indptr = np.concatenate([[0], np.cumsum(self.count[rows], dtype=np.int64)])
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

    def grow(self, *kernels):
        """Drops what rows have left behind and makes room for at least one more dense row."""
        self._lay_out(self.count, self.count + 2, np.ones(len(self.y), dtype=bool), 0.5, kernels)

    def make_room(self, rows, extra, *kernels):
        """Room on the lists of rows for so many classes beside the support, which is left there.

        Lists of other rows stay as they are. Nothing happens while there is enough room.
        """
        support = support_sizes(self.values, self.start, self.count)
        room = np.minimum(support + extra, self.n_classes).astype(np.int32)
        lacks = (self.room[rows] < room[rows]).any()
        if not lacks and 2 * self.room[rows].sum() <= 3 * room[rows].sum():
            return
        others = np.ones(len(self.y), dtype=bool)
        others[rows] = False
        count = np.where(others, self.count, support)
        self._lay_out(count, np.where(others, self.room, room), others, 0.0, kernels)

    def drop_zeros(self, *kernels):
        """Leaves nothing but the support on the lists."""
        support = support_sizes(self.values, self.start, self.count)
        if (support < self.count).any():
            self._lay_out(support, support + 2, np.zeros(len(self.y), dtype=bool), 0.0, kernels)

    def _lay_out(self, count, room, with_zeros, spare, kernels):
        """Moves lists, with or without zeros, to a pool with that room for each and spare room."""
        start = np.cumsum(room, dtype=np.int64) - room
        used = int(room.sum())
        size = used + int(spare * used) + 8 * (self.n_classes + 2)
        classes, values = np.zeros(size, dtype=np.int32), np.zeros(size, dtype=self.values.dtype)
        old = self.values, self.classes, self.start, self.count
        pack_lists(*old, start, with_zeros.view(np.uint8), values, classes)
        self.classes, self.values, self.start = classes, values, start
        self.count, self.room = count, room
        for problem in kernels:
            self.attach(problem)

    def alpha(self, problem, rows):
        """Feasible alpha in float64, as the kernels see it; CSR above DENSE_CLASSES classes."""
        row = np.repeat(rows, self.count[rows])
        values = np.empty(len(row))
        problem.alphas(rows, values)
        classes = self.classes[self._entries(rows)]
        some = values != 0
        alpha = sp.csr_array(
            (values[some], (row[some], classes[some])), shape=(len(self.y), self.n_classes)
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
    first, total = np.arange(len(y), dtype=np.int32), cap.copy()
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
