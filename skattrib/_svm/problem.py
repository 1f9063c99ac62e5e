"""A Crammer-Singer problem: its arguments, checked, and what the kernels need to know of them."""

from numbers import Integral, Real

import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_info

from .._arrays.checks import canonical_csr, check_plain, plain_array
from .._arrays.row_blocks import in_files, swept
from ._crammer_singer import LANES, WIDE_LANES, Problem
from .blocked import BlockedKernels, HeldRows
from .duals import aligned_zeros, merge_repeated

# C s (||x||^2 + bias^2) from which duals, in double, no longer resolve a unit of the margin
MOST_DIFFICULT = 1e24
# weights of so many are eight megabytes a feature
MOST_CLASSES = 1_000_000


class SVMProblem:
    """Rows, labels and caps C s_i; rows equal in features and label are solved as one.

    `bias` is the size of the constant feature, 0 for none.
    """

    def __init__(self, X, y, C, n_classes, sample_weight, bias):
        X = _checked_rows(X)
        if not (isinstance(C, Real) and 0 < C < np.inf):
            raise ValueError(f"C must be a positive number, got {C!r}")
        self.X, self.bias = X, float(bias)
        self.y, self.K = _checked_labels(y, X.shape[0], n_classes)
        self.longest = X.shape[1]  # terms of a score
        self.held = HeldRows(X) if in_files(X) else None
        if sp.issparse(X):
            self.longest = int(np.diff(X.indptr).max())
            self.indices = X.indices.astype(np.int32, copy=False)
            self.indptr = X.indptr.astype(np.int64, copy=False)
        weight = _checked_weights(sample_weight, X.shape[0])
        with np.errstate(over="ignore"):
            self.row_cap = C * weight
        # up to a power of two, so that the largest have a sum
        weight = np.ldexp(weight, -np.frexp(weight.max())[1])
        norms, keys = self._norms()
        norms += self.bias * self.bias
        self._check_sizes(norms)
        with np.errstate(over="ignore"):
            difficulty = C * np.average(norms, weights=weight)
        self.difficulty = np.minimum(difficulty, np.finfo(np.float64).max)

        # that score rows: as many as BLAS may use
        self.threads = 1 if self.K <= LANES or sp.issparse(X) else blas_threads()

        # rows that the solver visits: one for each set of equal rows, none without weight or norm
        self.shares = merge_repeated(X, self.y, keys, self.row_cap, norms > 0)
        self.cap = self.shares.total
        self.rows = np.flatnonzero((self.cap > 0) & (norms > 0)).astype(np.int32)
        self.empty = np.flatnonzero((self.row_cap > 0) & (norms == 0))
        with np.errstate(divide="ignore", over="ignore"):
            # what the state's type holds: beyond it a step goes as far as caps allow
            self.step = np.minimum(1.0 / norms, 1e30 if X.dtype == np.float32 else 1e200)
        # scores of classes move by at most this much a unit of ||W||
        self.reach = np.sqrt(2.0 * norms[self.rows])

    def _norms(self):
        """||x||^2 of each row, and a number that equal rows share."""
        n, d = self.X.shape
        norms, keys = np.empty(n), np.empty(n)
        self.kernels().norms(np.random.default_rng(0).uniform(1.0, 2.0, d), norms, keys)
        return norms, keys

    def _check_sizes(self, norms):
        """Refuses what sums do not hold, or hold without a digit of the gap."""
        if np.isnan(norms).any():
            raise ValueError("X has missing values (NaN): impute or drop them")
        single = self.X.dtype == np.float32
        largest, cap = norms.max(), self.row_cap.max()
        norm2 = "(||x||^2 + intercept_scaling^2)" if self.bias else "||x||^2"
        if not (largest < (1e30 if single else 1e250) and cap < (1e30 if single else 1e150)):
            raise ValueError(
                f"{norm2} is up to {largest:.1e} and C * sample_weight up to {cap:.1e}, beyond "
                f"what {self.X.dtype} sums hold: scale the features"
            )
        if not cap > 1e-200:
            raise ValueError(f"C * sample_weight is at most {cap:.1e}: raise C or the weights")
        norm = np.sqrt(norms)
        # scores are sums of these
        product = norm[self.row_cap > 0].max() * (self.row_cap * norm).max()
        if not product < MOST_DIFFICULT:
            raise ValueError(
                f"C * sample_weight * {norm2} is up to {product:.1e}, where rounding is larger "
                "than the margin: scale the features or lower C"
            )

    def fits_float32(self):
        """Whether float32 holds what a solve makes of the rows."""
        if len(self.rows) == 0:
            return False
        cap = self.cap[self.rows].max()
        return 1e-30 < cap < 1e30 and self.reach.min() > 1e-15 and self.reach.max() < 1e15

    def kernels(self, dtype=None):
        """The compiled kernels on these rows; they need `attach` for all but norms.

        Sparse rows are copied if a dtype is not theirs.
        """
        X, csr = self.X, {}
        if self.held is not None:
            return BlockedKernels(self.held, self.y, self.K, self.bias)
        if sp.issparse(X):
            csr["indices"] = self.indices
            csr["indptr"] = self.indptr
        return Problem(
            X.data.astype(dtype or X.dtype, copy=False) if csr else X,
            n_rows=X.shape[0],
            n_features=X.shape[1],
            n_classes=self.K,
            y=self.y,
            bias=self.bias,
            **csr,
        )

    def kernels_at(self, w, b, duals):
        """The kernels beside these weights and duals, which they change in place."""
        kernels = self.kernels(np.float32 if w.dtype == np.float32 else None)
        margin = None
        if self.K <= LANES:
            margin = aligned_zeros((2 * self.K, LANES), w.dtype)
            margin[self.K :, : self.K] = np.eye(self.K)
            margin[: self.K] = -np.inf
            margin[: self.K, : self.K] = 1.0 - np.eye(self.K)
        kernels.set_state(w, b, self.cap, self.step, margin)
        if self.K > LANES:
            size, classes = kernels.scratch_size()
            scratch = aligned_zeros(size, w.dtype), np.empty(classes, dtype=np.int32)
            kernels.set_scratch(*scratch, self.threads)
        duals.attach(kernels)
        return kernels

    def zero_weights(self, dtype):
        """Zeroed W and b, laid out for the kernels."""
        d, lanes = self.X.shape[1], LANES if self.K <= LANES else WIDE_LANES
        padded = -(-self.K // lanes) * lanes
        shape = (d, padded) if sp.issparse(self.X) else (self.K, -(-d // LANES) * LANES)
        return aligned_zeros(shape, dtype), aligned_zeros(padded, dtype)

    def feasible_start(self, dual):
        """Checked duals as CSR of the part below zero, which determines the rest."""
        if sp.issparse(dual):
            check_plain(dual, "dual_init")
            dual = canonical_csr(dual, "dual_init")
        else:
            dual = plain_array(dual, "dual_init", np.float64)
        if dual.shape != (self.X.shape[0], self.K):
            raise ValueError(
                f"dual_init must have shape {(self.X.shape[0], self.K)}, got {dual.shape}"
            )
        dual = sp.csr_array(dual, dtype=np.float64)
        if not np.isfinite(dual.data).all():
            raise ValueError("dual_init has values that are not finite")
        row = np.repeat(np.arange(dual.shape[0]), np.diff(dual.indptr))
        keep = (dual.data < 0) & (dual.indices != self.y[row]) & (self.row_cap[row] > 0)
        return sp.csr_array(
            (-dual.data[keep], (self.shares.first[row[keep]], dual.indices[keep])),
            shape=dual.shape,
        )

    def spread(self, dual):
        """Duals of all rows from those of the rows that were visited."""
        dual = self.shares.spread(dual, self.row_cap)
        if len(self.empty) == 0:
            return dual
        # any feasible value is optimal: the smallest
        cap, own = self.row_cap[self.empty, None], self.y[self.empty]
        values = np.repeat(-cap / (self.K - 1), self.K, axis=1)
        values[np.arange(len(own)), own] = cap[:, 0]
        if sp.issparse(dual):
            place = (np.repeat(self.empty, self.K), np.tile(np.arange(self.K), len(own)))
            return sp.csr_array(dual + sp.csr_array((values.ravel(), place), shape=dual.shape))
        dual[self.empty] = values
        return dual


def blas_threads():
    """How many threads BLAS may use, by OPENBLAS_NUM_THREADS and its like or by threadpoolctl."""
    found = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    return max(found, default=1)


def _checked_rows(X):
    if in_files(X):
        return swept(X)
    if not (sp.issparse(X) or isinstance(X, np.ndarray)):
        raise TypeError(f"X must be an array or a CSR matrix, got {type(X).__name__}")
    check_plain(X, "X")
    if X.dtype not in (np.float32, np.float64):
        raise ValueError(f"X must be float32 or float64, got {X.dtype}")
    if sp.issparse(X):
        X = sp.csr_array(X) if isinstance(X, sp.csr_matrix) else X
        if X.format != "csr" or canonical_csr(X, "X") is not X:
            raise ValueError("sparse X must be CSR in canonical format: X.sum_duplicates()")
    elif X.ndim != 2 or not X.flags.c_contiguous:
        raise ValueError("X must be a C-ordered matrix: numpy.ascontiguousarray(X)")
    n, d = X.shape
    if n < 1 or d < 1:
        raise ValueError(f"X has shape {X.shape}: at least one row and one feature are needed")
    return X


def _checked_labels(y, n, n_classes):
    """Class indices of n rows, and the number of classes."""
    y = plain_array(y, "y")
    if y.shape != (n,) or y.dtype.kind not in "iu":
        raise ValueError(f"y must hold {n} class indices, got {y.dtype} of shape {y.shape}")
    if not (n_classes is None or isinstance(n_classes, Integral)):
        raise TypeError(f"n_classes must be an integer or None, got {n_classes!r}")
    K = int(y.max()) + 1 if n_classes is None else int(n_classes)
    if K > MOST_CLASSES:
        raise ValueError(
            f"n_classes is {K:,}, beyond {MOST_CLASSES:,}: number the classes without gaps"
        )
    if K < 2 or y.min() < 0 or y.max() >= K:
        raise ValueError(
            f"y must lie in 0..n_classes - 1 with at least two classes; n_classes is {K}, "
            f"y lies in {y.min()}..{y.max()}"
        )
    return np.ascontiguousarray(y, dtype=np.int32), K


def _checked_weights(sample_weight, n):
    if sample_weight is None:
        return np.ones(n)
    weight = plain_array(sample_weight, "sample_weight", np.float64)
    if weight.shape != (n,) or not np.isfinite(weight).all() or (weight < 0).any():
        raise ValueError(f"sample_weight must be {n} finite numbers >= 0")
    if not weight.any():
        raise ValueError("sample_weight is zero for every row: nothing to fit")
    return weight
