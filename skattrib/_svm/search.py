"""What both engines of the Crammer-Singer dual share: duals, W of them, and the certified gap."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from ._crammer_singer import LANES
from .duals import PackedDuals, PaddedDuals
from .problem import SVMProblem


@dataclass
class CrammerSingerResult:
    """What :func:`crammer_singer` found.

    Attributes
    ----------
    dual : (n, K) float64 array, or CSR array when K > 64 or on a path
        alpha, feasible: rows sum to 0, 0 <= alpha[i, y_i] <= C s_i, the others <= 0.
    coef : (K, d) float64 array
        W(alpha) = sum_i alpha_i x_i^T.
    intercept : (K,) float64 array
        ``intercept_scaling**2 sum_i alpha_i``; zeros without an intercept.
    objective : float
        The primal value P at coef.
    gap : float
        (P - D) / P of exactly this pair, in float64.
    n_iter : int
        Work in sweeps over all rows, rounded up, and Newton steps.
    converged : bool
        Whether gap <= tol.
    difficulty : float
        C mean ||x||^2, by weight, the constant feature included.
    """

    dual: np.ndarray | sp.csr_array
    coef: np.ndarray
    intercept: np.ndarray
    objective: float
    gap: float
    n_iter: int
    converged: bool
    difficulty: float


class Search(SVMProblem):
    """The state of one solve: duals, W in double and, for float32 rows, a working copy of W."""

    def __init__(self, X, y, C, n_classes, sample_weight, bias, dual_init):
        super().__init__(X, y, C, n_classes, sample_weight, bias)
        kind = PaddedDuals if self.K <= LANES else PackedDuals
        start = None if dual_init is None else self.feasible_start(dual_init)
        self.cold = dual_init is None
        # half of the memory that sweeps of sparse rows jump about in
        single = X.dtype == np.float32 or (sp.issparse(X) and self.cold and self.fits_float32())
        dtype = np.float32 if single else np.float64
        self.duals = kind(self.y, self.K, self.cap, dtype, start)
        self.W, self.b = self.zero_weights(np.float64)
        self.linear = 0.0  # sum_i alpha_{i, y_i} of the visited rows
        self._attach(dtype)

    def _attach(self, dtype):
        """Kernels at W, and kernels at a working copy of that dtype."""
        self.exact = self.kernels_at(self.W, self.b, self.duals)
        self.work = self.zero_weights(dtype)
        self.worker = self.kernels_at(*self.work, self.duals)

    @property
    def single(self):
        """Whether the working copy is float32."""
        return self.work[0].dtype == np.float32

    @property
    def listed(self):
        """Whether sweeps may keep to the classes on the rows' lists."""
        return self.K > LANES and not sp.issparse(self.X)

    def listed_part(self):
        """The share of all pairs of a row and a class that are on lists."""
        return self.duals.count.mean() / self.K if self.listed else 1.0

    def use_float64(self):
        """Goes on in float64: duals and the working copy of W."""
        if self.single:
            self.duals.use_float64()
            self._attach(np.float64)

    def sweep(self, order, listed=False):
        """One epoch, with room for the duals made as needed; order becomes the rows kept."""
        n_kept = done = 0
        total = 0.0
        while True:
            visited, more, gap = self.worker.epoch(order[done:], order[n_kept:], listed)
            done, n_kept, total = done + visited, n_kept + more, total + gap
            if done == len(order):
                return n_kept, total
            self.duals.grow(self.worker, self.exact)

    # W = W(alpha)

    def move(self, rows, sign):
        """Adds to W what the duals of rows contribute, or takes it away."""
        self.linear += self.exact.weights(rows, sign, self.W, self.b)

    def sum_anew(self):
        """W without the rounding of earlier changes."""
        self.W[:], self.b[:], self.linear = 0.0, 0.0, 0.0
        self.move(self.rows, 1.0)

    def norm(self):
        """||W||."""
        return np.sqrt(np.vdot(self.W, self.W) + np.vdot(self.b, self.b))

    def augmented(self):
        """W, with the constant feature's weights as its last column if there is one."""
        W = (self.W.T if sp.issparse(self.X) else self.W)[: self.K, : self.X.shape[1]]
        return np.column_stack([W, self.b[: self.K]]) if self.bias else W.copy()

    def replace(self, rows, classes, values):
        """New duals for some rows, at the listed classes."""
        self.move(rows, -1.0)
        self.duals.put(rows, classes, values)
        for kernels in (self.worker, self.exact):
            self.duals.attach(kernels)
        self.move(rows, 1.0)

    # the gap

    def primal(self, gap):
        """P = D + gap at W = W(alpha), with the rows that have no features."""
        square = np.vdot(self.W, self.W) + np.vdot(self.b, self.b)
        return self.linear - 0.5 * square + gap + self.row_cap[self.empty].sum()

    def measure(self, rows, slack):
        """The gap of the duals and W = W(alpha), if only these rows may add to it."""
        self.gap = self.exact.score(rows, slack)
        self.objective = self.primal(self.gap)
        return self.gap

    def certify(self):
        """The gap of the duals and W = W(alpha), summed anew."""
        self.sum_anew()
        self.slack = np.empty(len(self.rows), dtype=np.float32)
        return self.measure(self.rows, self.slack)

    def gap_at(self, W, slack, rows=None):
        """The gap and the primal value of any W beside the duals; slack of the rows at W.

        Rows not among those given, if some are, are taken to add nothing to the gap.
        """
        self.use_float64()
        w, b = self.work
        d = self.X.shape[1]
        if sp.issparse(self.X):
            w[:, : self.K] = W[:, :d].T
        else:
            w[:, :d] = W[:, :d]
        if self.bias:
            b[: self.K] = W[:, d]
        off = W - self.augmented()
        rows = self.rows if rows is None else rows
        gap = self.worker.score(rows, slack) + 0.5 * np.vdot(off, off)
        return gap, self.primal(gap)

    def solved(self, tol):
        """Whether the gap is at most tol times the primal value."""
        return bool(self.gap <= tol * self.objective)

    def result(self, n_iter, tol):
        """What was found, for all rows."""
        return CrammerSingerResult(
            dual=self.spread(self.duals.alpha(self.exact, self.rows)),
            coef=np.ascontiguousarray(self.augmented()[:, : self.X.shape[1]]),
            intercept=self.bias * self.b[: self.K],
            objective=float(self.objective),
            gap=float(self.gap / self.objective),
            n_iter=n_iter,
            converged=self.solved(tol),
            difficulty=float(self.difficulty),
        )
