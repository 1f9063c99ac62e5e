"""The compiled kernels on rows in files: rows and what belongs to them, a block at a time."""

import numpy as np

from .._arrays.row_blocks import block_height, blocks_of, read_together
from ._crammer_singer import LANES, Problem
from .duals import aligned_zeros

# rows of a block at most: their duals are copied
MOST_ROWS = 2**16
# runs of consecutive rows that a block is made of, unless more are decoded together
RUNS = 64


class HeldRows:
    """The block of rows that is in memory, increasing, shared by all kernels of a problem."""

    def __init__(self, X):
        self.X = X
        self.most = min(block_height(X), MOST_ROWS)
        self.run = min(max(1, self.most // RUNS, read_together(X)), self.most)
        self.ids = np.empty(0, dtype=np.int32)
        self.x = None

    def pieces(self, rows):
        """Rows in blocks of runs of consecutive ones, in the order in which runs first come.

        What is in a block together changes from sweep to sweep: sweeps over the same blocks again
        and again converge many times as slowly where rows are alike.
        """
        if len(rows) <= self.most:
            return [rows]
        _, first, run, size = np.unique(
            rows // self.run,
            return_index=True,
            return_inverse=True,
            return_counts=True,
        )
        order = np.argsort(first)
        block = np.empty(len(order), dtype=np.intp)
        block[order] = self._blocks(size[order])
        block = block[run]
        order = np.argsort(block, kind="stable")
        return np.split(rows[order], np.flatnonzero(np.diff(block[order])) + 1)

    def _blocks(self, sizes):
        """The number of the block of each run, of which blocks hold as many as they can."""
        ends, number, out = np.cumsum(sizes), 0, np.empty(len(sizes), dtype=np.intp)
        begin = done = 0
        while begin < len(sizes):
            end = int(np.searchsorted(ends, done + self.most, side="right"))
            out[begin:end] = number
            begin, done, number = end, ends[end - 1], number + 1
        return out

    def local(self, rows):
        """Places of rows, in any order, in the block that has them, which is read if need be."""
        place = np.searchsorted(self.ids, rows)
        if len(self.ids):
            known = place < len(self.ids)
            known[known] = self.ids[place[known]] == rows[known]
            if known.all():
                return place.astype(np.int32)
        self.x = None
        self.ids = np.sort(rows)
        self.x = self.X[self.ids]
        return np.searchsorted(self.ids, rows).astype(np.int32)


class BlockedKernels:
    """What `Problem` has, for rows that are read when they are needed.

    Weights and duals are those of the search; rows of the latter are copied into a block and back.
    A sweep takes rows in another order than given: those of a block together.
    """

    def __init__(self, held, y, n_classes, bias):
        self.held, self.y, self.K, self.bias = held, y, n_classes, bias

    def set_state(self, w, b, cap, step, margin):
        """See `Problem`."""
        self.w, self.b, self.cap, self.step, self.margin = w, b, cap, step, margin

    def scratch_size(self):
        """See `Problem`."""
        return self._bare(
            np.zeros((1, self.held.X.shape[1]), self.held.X.dtype), self.y
        ).scratch_size()

    def set_scratch(self, *scratch):
        """See `Problem`."""
        self.scratch = scratch

    def set_dense_duals(self, beta):
        """See `Problem`."""
        self.beta, self.packed = beta, None

    def set_packed_duals(self, start, count, room, classes, values, used):
        """See `Problem`."""
        self.beta, self.packed = None, (start, count, room)
        self.pool, self.used = (classes, values), used

    def _problem(self, rows):
        """(kernels on the block that has rows, their places there, what was copied of duals)."""
        place = self.held.local(rows)
        ids, x = self.held.ids, self.held.x
        problem = self._bare(x, self.y[ids])
        cap, step = self.cap[ids], self.step[ids]
        problem.set_state(self.w, self.b, cap, step, self.margin)
        if self.packed is None:
            beta = aligned_zeros((len(ids), LANES), self.beta.dtype)
            beta[place] = self.beta[rows]
            problem.set_dense_duals(beta)
            return problem, place, beta
        copied = [part[ids] for part in self.packed]
        problem.set_packed_duals(*copied, *self.pool, self.used)
        problem.set_scratch(*self.scratch)
        return problem, place, copied

    def _bare(self, x, y):
        return Problem(
            x,
            n_rows=len(y),
            n_features=x.shape[1],
            n_classes=self.K,
            y=y,
            bias=self.bias,
        )

    def epoch(self, rows, kept, listed=False):
        """See `Problem`; `rows` come in the order of visits."""
        pieces = self.held.pieces(rows)
        if len(pieces) > 1:
            rows[:] = np.concatenate(pieces)
        done = n_kept = 0
        gap = 0.0
        for piece in pieces:
            piece = piece.copy()
            problem, place, copied = self._problem(piece)
            left = np.empty_like(place)
            visited, more, part = problem.epoch(place, left, listed)
            if self.packed is None:
                self.beta[piece] = copied[place]
            else:
                for whole, local in zip(self.packed, copied, strict=True):
                    whole[piece] = local[place]
                ends = copied[0][place] + copied[2][place]
                self.used = max(self.used, int(ends.max()))
            kept[n_kept : n_kept + more] = self.held.ids[left[:more]]
            done, n_kept, gap = done + visited, n_kept + more, gap + part
            # the next block is read without this one beside it
            del problem, copied
            if visited < len(piece):
                break
        return done, n_kept, gap

    def score(self, rows, slack, beyond=None, nearly=0.0):
        """See `Problem`."""
        gap = 0.0
        for piece, at in self._placed(rows):
            problem, place, copied = self._problem(piece)
            part = np.empty((2, len(piece)), dtype=np.float32)
            gap += problem.score(place, part[0], None if beyond is None else part[1], nearly)
            slack[at] = part[0]
            if beyond is not None:
                beyond[at] = part[1]
                self.packed[1][piece] = copied[1][place]
            del problem, copied
        return gap

    def score_listed(self, rows, slack):
        """See `Problem`."""
        gap = 0.0
        for piece, at in self._placed(rows):
            problem, place, copied = self._problem(piece)
            part = np.empty(len(piece), dtype=np.float32)
            gap += problem.score_listed(place, part)
            slack[at] = part
            del problem, copied
        return gap

    def weights(self, rows, sign, w, b):
        """See `Problem`."""
        total = 0.0
        for piece, _ in self._placed(rows):
            problem, place, copied = self._problem(piece)
            total += problem.weights(place, sign, w, b)
            del problem, copied
        return total

    def _placed(self, rows):
        """(rows of a block, their places among all)."""
        if len(rows) <= self.held.most:
            if len(rows):
                yield rows, slice(None)
            return
        order = np.argsort(rows, kind="stable")
        for k in range(0, len(rows), self.held.most):
            at = order[k : k + self.held.most]
            yield rows[at], at

    def alphas(self, rows, out):
        """See `Problem`; no features are read."""
        problem = self._bare(np.zeros((1, self.held.X.shape[1]), self.held.X.dtype), self.y)
        problem.set_state(self.w, self.b, self.cap, self.step, self.margin)
        if self.packed is None:
            problem.set_dense_duals(self.beta)
        else:
            problem.set_packed_duals(*self.packed, *self.pool, self.used)
        problem.alphas(rows, out)

    def norms(self, probe, norms, keys):
        """See `Problem`."""
        X = self.held.X
        for part in blocks_of(X):
            self._bare(X[part], self.y[part]).norms(probe, norms[part], keys[part])
