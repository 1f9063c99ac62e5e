"""One solve of the Crammer-Singer dual: which rows to sweep, when to stop."""

from dataclasses import dataclass
from numbers import Real

import numpy as np
import scipy.sparse as sp

from .._checks import canonical_csr
from ._crammer_singer import LANES, Problem, shuffle
from .duals import PackedDuals, PaddedDuals, aligned_zeros, merge_repeated

# float32 sweeps are good to about this relative gap; below it duals and W become float64
FLOAT32_FLOOR = 1e-6

# C s ||x||^2 from which duals, in double, no longer resolve a unit of the margin
MOST_DIFFICULT = 1e24

# a sweep over few rows counts as this share of a sweep over all
SMALLEST_SWEEP = 0.01

# sweeps over open rows before all rows that may have opened are scored again
LONGEST_DESCENT = 200

# rows with less slack than this, in units of the margin, are visited with the open ones
NEARLY = 0.03

# consecutive rows that a sweep over all rows visits together, so that memory is read in order
RUN = 32


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
        sum_i alpha_i; zeros without an intercept.
    objective : float
        The primal value P at coef.
    gap : float
        (P - D) / P of exactly this pair, in float64.
    n_iter : int
        Work in sweeps over all rows, rounded up, and Newton steps.
    converged : bool
        Whether gap <= tol.
    """

    dual: np.ndarray | sp.csr_array
    coef: np.ndarray
    intercept: np.ndarray
    objective: float
    gap: float
    n_iter: int
    converged: bool


class Ascent:
    """The state of one solve: duals, W in double and, for float32 rows, a working copy of W."""

    def __init__(self, X, y, C, n_classes, sample_weight, fit_intercept, dual_init):
        if X.dtype not in (np.float32, np.float64):
            raise ValueError(f"X must be float32 or float64, got {X.dtype}")
        if sp.issparse(X):
            if X.format != "csr" or canonical_csr(X, "X") is not X:
                raise ValueError("sparse X must be CSR in canonical format: X.sum_duplicates()")
        elif X.ndim != 2 or not X.flags.c_contiguous:
            raise ValueError("X must be a C-ordered matrix: numpy.ascontiguousarray(X)")
        n, d = X.shape
        if n < 1 or d < 1:
            raise ValueError(f"X has shape {X.shape}: at least one row and one feature are needed")
        if not (isinstance(C, Real) and 0 < C < np.inf):
            raise ValueError(f"C must be a positive number, got {C!r}")
        y = np.asarray(y)
        if y.shape != (n,) or y.dtype.kind not in "iu":
            raise ValueError(f"y must hold {n} class indices, got {y.dtype} of shape {y.shape}")
        K = int(y.max()) + 1 if n_classes is None else int(n_classes)
        if K < 2 or y.min() < 0 or y.max() >= K:
            raise ValueError(
                f"y must lie in 0..n_classes - 1 with at least two classes; n_classes is {K}, "
                f"y lies in {y.min()}..{y.max()}"
            )
        weight = np.ones(n)
        if sample_weight is not None:
            weight = np.asarray(sample_weight, dtype=np.float64)
            if weight.shape != (n,) or not np.isfinite(weight).all() or (weight < 0).any():
                raise ValueError(f"sample_weight must be {n} finite numbers >= 0")
            if not weight.any():
                raise ValueError("sample_weight is zero for every row: nothing to fit")

        self.X, self.K, self.bias = X, K, bool(fit_intercept)
        self.y = np.ascontiguousarray(y, dtype=np.int32)
        with np.errstate(over="ignore"):
            self.row_cap = C * weight
        norms, keys = np.empty(n), np.empty(n)
        self._problem().norms(np.random.default_rng(0).uniform(1.0, 2.0, d), norms, keys)
        if np.isnan(norms).any():
            raise ValueError("X has missing values (NaN): impute or drop them")
        self._check_sizes(norms)
        norms += self.bias
        self.difficulty = C * np.average(norms, weights=weight)

        # rows that the solver visits: one for each set of equal rows, none without weight or norm
        self.shares = merge_repeated(X, self.y, keys, self.row_cap, norms > 0)
        self.cap = self.shares.total
        self.rows = np.flatnonzero((self.cap > 0) & (norms > 0)).astype(np.int32)
        self.empty = np.flatnonzero((self.row_cap > 0) & (norms == 0))
        with np.errstate(divide="ignore"):
            self.step = np.minimum(1.0 / norms, 1e30)
        # scores of classes move by at most this much a unit of ||W||
        self.reach = np.sqrt(2.0 * norms[self.rows])

        kind = PaddedDuals if K <= LANES else PackedDuals
        start = None if dual_init is None else self._feasible_start(dual_init)
        self.duals = kind(self.y, K, self.cap, X.dtype, start)
        self.cold = dual_init is None
        self.W, self.b = self._weights(np.float64)
        self.linear = 0.0  # sum_i alpha_{i, y_i} of the visited rows
        self.exact = self._problem(self.W, self.b)
        if X.dtype == np.float32:
            self.work = self._weights(np.float32)
            self.worker = self._problem(*self.work)
        else:
            self.use_float64()

    def _check_sizes(self, norms):
        """Refuses what sums do not hold, or hold without a digit of the gap."""
        single = self.X.dtype == np.float32
        largest, cap = norms.max(), self.row_cap.max()
        norm = np.sqrt(norms)
        # scores are sums of these
        product = norm[self.row_cap > 0].max() * (self.row_cap * norm).max()
        if not (largest < (1e30 if single else 1e250) and cap < (1e30 if single else 1e150)):
            raise ValueError(
                f"||x||^2 is up to {largest:.1e} and C * sample_weight up to {cap:.1e}, beyond "
                f"what {self.X.dtype} sums hold: scale the features"
            )
        if not product < MOST_DIFFICULT:
            raise ValueError(
                f"C * sample_weight * ||x||^2 is up to {product:.1e}, where rounding is larger "
                "than the margin: scale the features or lower C"
            )
        if not cap > 1e-200:
            raise ValueError(f"C * sample_weight is at most {cap:.1e}: raise C or the weights")

    def _problem(self, w=None, b=None):
        X = self.X
        parts = {}
        if sp.issparse(X):
            parts["indices"] = X.indices.astype(np.int32, copy=False)
            parts["indptr"] = X.indptr.astype(np.int64, copy=False)
        problem = Problem(
            X.data if parts else X,
            n_rows=X.shape[0],
            n_features=X.shape[1],
            n_classes=self.K,
            y=self.y,
            bias=self.bias,
            **parts,
        )
        if w is not None:
            margin = None
            if self.K <= LANES:
                margin = aligned_zeros((2 * self.K, LANES), w.dtype)
                margin[self.K :, : self.K] = np.eye(self.K)
                margin[: self.K] = -np.inf
                margin[: self.K, : self.K] = 1.0 - np.eye(self.K)
            problem.set_state(w, b, self.cap, self.step, margin)
            self.duals.attach(problem, w.dtype)
        return problem

    def _weights(self, dtype):
        """Zeroed W and b, laid out for the kernels."""
        d, padded = self.X.shape[1], -(-self.K // LANES) * LANES
        shape = (d, padded) if sp.issparse(self.X) else (self.K, -(-d // LANES) * LANES)
        return aligned_zeros(shape, dtype), aligned_zeros(padded, dtype)

    def use_float64(self):
        if self.X.dtype == np.float32:
            self.duals.use_float64()
            self.exact = self._problem(self.W, self.b)
        self.work = self._weights(np.float64)
        self.worker = self._problem(*self.work)

    def _feasible_start(self, dual):
        """Checked duals as CSR of the part below zero, which determines the rest."""
        if dual.shape != (self.X.shape[0], self.K):
            raise ValueError(
                f"dual_init must have shape {(self.X.shape[0], self.K)}, got {dual.shape}"
            )
        dual = canonical_csr(dual, "dual_init") if sp.issparse(dual) else dual
        dual = sp.csr_array(dual, dtype=np.float64)
        if not np.isfinite(dual.data).all():
            raise ValueError("dual_init has values that are not finite")
        row = np.repeat(np.arange(dual.shape[0]), np.diff(dual.indptr))
        keep = (dual.data < 0) & (dual.indices != self.y[row]) & (self.row_cap[row] > 0)
        return sp.csr_array(
            (-dual.data[keep], (self.shares.first[row[keep]], dual.indices[keep])),
            shape=dual.shape,
        )

    def run(self, tol, max_iter, seed, verbose):
        """Sweeps until the relative gap is tol; returns the number of sweeps."""
        rows, work = self.rows, 0.0
        cold, self.cold = self.cold, False
        slack = np.empty(len(rows), dtype=np.float32)
        # a row is settled while W has moved less than `safe` in all
        safe = np.full(len(rows), -np.inf)
        travelled = largest = 0.0
        if cold and len(rows):
            left = np.empty_like(rows)
            for _ in range(min(2, max_iter)):
                seed = self._in_runs(left, seed)
                kept, _ = self._sweep(left)
                work += 1.0
            done, seed = self._descend(left[:kept], 0.0, max_iter - work, seed)
            work += done
            self.worker.score(rows, slack)
            left = rows[slack <= NEARLY]
            done, seed = self._descend(left, 0.0, max_iter - work, seed)
            work += done
        self._restart_weights()
        self._move(rows, 1.0)
        best, stalled = np.inf, 0
        while True:
            norm = np.sqrt(np.vdot(self.W, self.W) + np.vdot(self.b, self.b))
            if norm < 0.1 * largest:
                # W was much larger on the way: sum it anew, without the rounding of that time
                self._restart_weights()
                self._move(rows, 1.0)
                largest = norm
            largest = max(largest, norm)
            np.copyto(self.work[0], self.W)
            np.copyto(self.work[1], self.b)
            single = self.work[0].dtype == np.float32
            # what float32 scores may be wrong by, in units of travel
            eps = 2.0 * (self.X.shape[1] + 32) * np.finfo(np.float32).eps * norm
            due = np.flatnonzero(safe <= travelled + eps)
            worker = self.worker if single else self.exact
            gap = worker.score(rows[due], slack[: len(due)])
            safe[due] = slack[: len(due)] / self.reach[due] + travelled
            primal = self._primal(gap)
            if single and (gap <= tol * primal or work >= max_iter):
                due = np.flatnonzero(safe <= travelled + eps)
                gap = self.exact.score(rows[due], slack[: len(due)])
                primal = self._primal(gap)
            self.gap, self.objective = gap, primal
            if verbose:
                print(
                    f"[crammer_singer] sweep {work:.1f}: relative gap {gap / primal:.2e}, "
                    f"objective {primal:.6g}, {np.count_nonzero(safe <= travelled)} open rows"
                )
            # a gap that is not a number ends the search too
            if not gap > tol * primal or work >= max_iter:
                break
            stalled = 0 if gap < 0.7 * best else stalled + 1
            best = min(best, gap)
            if single and (gap <= FLOAT32_FLOOR * primal or stalled >= 5):
                self.use_float64()
                best, stalled = np.inf, 0
                continue
            active = rows[safe <= travelled + NEARLY / self.reach]
            before = self.W.copy(), self.b.copy()
            if 2 * len(active) > len(rows):
                moving = rows
                self._restart_weights()
            else:
                moving = active
                self._move(active, -1.0)
            done, seed = self._descend(active.copy(), tol * primal, max_iter - work, seed)
            self._move(moving, 1.0)
            work += done
            travelled += np.sqrt(
                np.vdot(self.W - before[0], self.W - before[0])
                + np.vdot(self.b - before[1], self.b - before[1])
            )
        # at least this much slack is left
        self.slack = (safe - travelled - eps) * self.reach
        return int(np.ceil(min(work, max_iter)))

    def _descend(self, left, target, budget, seed):
        """Sweeps the rows left open until their gap is a third of what it was at first."""
        first, work = None, 0.0
        for _ in range(LONGEST_DESCENT):
            if work >= budget or len(left) == 0:
                break
            work += max(len(left) / len(self.rows), SMALLEST_SWEEP)
            seed = shuffle(left, seed)
            kept, gap = self._sweep(left)
            left = left[:kept]
            first = gap if first is None else first
            if gap <= max(first / 3.0, 0.3 * target):
                break
        return work, seed

    def _in_runs(self, order, seed):
        """Fills order with all rows, in runs of consecutive ones that are in random order."""
        n = len(order)
        runs = np.arange(-(-n // RUN), dtype=np.int32)
        seed = shuffle(runs, seed)
        position = (runs[:, None] * RUN + np.arange(RUN, dtype=np.int32)).ravel()
        order[:] = self.rows[position[position < n]]
        return seed

    def _sweep(self, order):
        """One epoch, with room for the duals made as needed; order becomes the rows kept."""
        n_kept = done = 0
        total = 0.0
        while True:
            visited, more, gap = self.worker.epoch(order[done:], order[n_kept:])
            done, n_kept, total = done + visited, n_kept + more, total + gap
            if done == len(order):
                return n_kept, total
            self.duals.grow(self.worker, self.exact)

    def _restart_weights(self):
        self.W[:], self.b[:], self.linear = 0.0, 0.0, 0.0

    def _move(self, rows, sign):
        self.linear += self.exact.weights(rows, sign, self.W, self.b)

    def augmented(self):
        """W, with the constant feature's weights as its last column if there is one."""
        W = (self.W.T if sp.issparse(self.X) else self.W)[: self.K, : self.X.shape[1]]
        return np.column_stack([W, self.b[: self.K]]) if self.bias else W.copy()

    def easier(self, difficulty, max_iter, seed):
        """Takes the duals, scaled, of a rough solution at an easier C; returns its W and sweeps."""
        factor = difficulty / self.difficulty
        cap, row_cap = self.cap.copy(), self.row_cap
        self.duals.scale(factor, factor * cap)
        self.row_cap = factor * row_cap
        n_iter = self.run(1e-2, max_iter, seed, 0)
        W = self.augmented()
        self.duals.scale(1.0 / factor, cap)
        self.row_cap = row_cap
        return W, n_iter

    def gap_at(self, W, slack, rows=None):
        """The gap and the primal value of any W beside the duals; slack of the rows at W.

        Rows not among those given, if some are, are taken to add nothing to the gap.
        """
        if self.work[0].dtype == np.float32:
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
        return gap, self._primal(gap)

    def certify(self):
        """The gap of the duals and W = W(beta), summed anew."""
        self._restart_weights()
        self._move(self.rows, 1.0)
        self.slack = np.empty(len(self.rows), dtype=np.float32)
        return self.measure(self.rows, self.slack)

    def measure(self, rows, slack):
        """The gap of the duals and W = W(beta), if only these rows may add to it."""
        self.gap = self.exact.score(rows, slack)
        self.objective = self._primal(self.gap)
        return self.gap

    def replace(self, rows, classes, values):
        """New duals for some rows, at the listed classes."""
        self._move(rows, -1.0)
        self.duals.put(rows, classes, values)
        for problem in (self.worker, self.exact):
            self.duals.attach(problem, problem.state_dtype)
        self._move(rows, 1.0)

    def _primal(self, gap):
        """P = D + gap at W = W(alpha), with the rows that have no features."""
        square = np.vdot(self.W, self.W) + np.vdot(self.b, self.b)
        return self.linear - 0.5 * square + gap + self.row_cap[self.empty].sum()

    def result(self, n_iter, tol):
        dual = self.duals.alpha(self.exact, self.rows)
        dual = self.shares.spread(dual, self.row_cap)
        if len(self.empty):
            # any feasible value is optimal: the smallest
            cap, own = self.row_cap[self.empty, None], self.y[self.empty]
            values = np.repeat(-cap / (self.K - 1), self.K, axis=1)
            values[np.arange(len(own)), own] = cap[:, 0]
            if sp.issparse(dual):
                place = (np.repeat(self.empty, self.K), np.tile(np.arange(self.K), len(own)))
                dual = sp.csr_array(dual + sp.csr_array((values.ravel(), place), shape=dual.shape))
            else:
                dual[self.empty] = values
        d = self.X.shape[1]
        W = self.W.T[: self.K] if sp.issparse(self.X) else self.W[:, :d]
        return CrammerSingerResult(
            dual=dual,
            coef=np.ascontiguousarray(W),
            intercept=self.b[: self.K].copy(),
            objective=float(self.objective),
            gap=float(self.gap / self.objective),
            n_iter=n_iter,
            converged=bool(self.gap <= tol * self.objective),
        )
