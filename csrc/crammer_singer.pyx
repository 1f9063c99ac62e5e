"""The Crammer-Singer dual, one sweep over rows a call.

    P(W) = 1/2 ||W||^2 + C sum_i s_i xi_i,   xi_i = max_m (1[m != y_i] + w_m.x_i) - w_{y_i}.x_i
    D    = -1/2 ||W(alpha)||^2 + sum_i alpha_{i, y_i},        W(alpha) = sum_i alpha_i x_i^T

is worked on through beta_i = C s_i e_{y_i} - alpha_i in the simplex of size C s_i. With the scores
s_i = W x_i + 1 - e_{y_i}, any W and any feasible beta,

    P(W) - D(beta) = sum_i g_i + 1/2 ||W - W(beta)||^2,   g_i = sum_m beta_im (max_k s_ik - s_im),

a sum of non-negative terms. A sweep visits rows in the given order and moves each to the exact
maximizer of D over beta_i, the projection of beta_i + s_i / ||x_i||^2 onto its simplex.

Keerthi et al. 2008, "A sequential dual method for large scale multi-class linear SVMs";
Blondel, Fujino and Ueda 2014, "Large-scale multiclass support vector machine training via
Euclidean projection onto the simplex".
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from cpython.exc cimport PyErr_CheckSignals
from kernels cimport (
    CS_BLOCK, CS_CHECKED, CS_DDD, CS_DDF, CS_FDD, CS_FDF, CS_FFF, CS_LANES, CS_MOST_ROWS, CS_PADDED,
    cs_epoch, cs_kernels, cs_problem, cs_scratch, cs_select, int32_t, int64_t, uint8_t, uint64_t
)

LANES = CS_LANES
WIDE_LANES = 2 * CS_LANES  # classes are padded to a multiple of it if there are more than LANES
CHECKED = CS_CHECKED == 1  # built with SKATTRIB_CHECK=1

# rows are handed to a kernel in pieces of about this many multiplications, so that a signal is
# seen within a fraction of a second
cdef int64_t PIECE = 40_000_000

# numbers of scores that a block of dense rows has at most, as far as the second-level cache goes
cdef int64_t SCORES = 2**17

cdef const cs_kernels *_kernels = cs_select(b"")


def instruction_set(name=None):
    """Name of the instruction set in use; a name (or "" for the best) selects it.

    Parameters
    ----------
    name : str, optional
        "baseline" anywhere, "avx2" or "avx512" on x86-64; taken from now on in this process.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If the processor cannot run it.

    Examples
    --------
    >>> from skattrib import instruction_set
    >>> instruction_set("baseline")
    'baseline'
    >>> best = instruction_set("")
    """
    global _kernels
    cdef const cs_kernels *found
    if name is not None:
        found = cs_select(name.encode())
        if found is NULL:
            raise ValueError(f"this processor cannot run the {name!r} kernels")
        _kernels = found
    return _kernels.name.decode()


def shuffle(int32_t[::1] rows, uint64_t state):
    """Permutes rows in place; returns the generator's next state (xorshift64*)."""
    cdef Py_ssize_t i, j
    cdef int32_t swap
    with nogil:
        for i in range(rows.shape[0] - 1, 0, -1):
            state ^= state >> 12
            state ^= state << 25
            state ^= state >> 27
            j = <Py_ssize_t>((((state * 0x2545F4914F6CDD1DULL) >> 32) * <uint64_t>(i + 1)) >> 32)
            swap = rows[i]
            rows[i] = rows[j]
            rows[j] = swap
    return state


ctypedef fused real:
    float
    double


def support_sizes(const real[::1] values, const int64_t[::1] start, const int32_t[::1] count):
    """Entries of each list that are the label's, which is first, or not zero."""
    cdef Py_ssize_t i, k
    out = np.ones(start.shape[0], dtype=np.int32)
    cdef int32_t[::1] size = out
    with nogil:
        for i in range(start.shape[0]):
            for k in range(start[i] + 1, start[i] + count[i]):
                size[i] += values[k] != 0
    return out


def pack_lists(const real[::1] values, const int32_t[::1] classes, const int64_t[::1] start,
               const int32_t[::1] count, const int64_t[::1] to, const uint8_t[::1] keep_zeros,
               real[::1] to_values, int32_t[::1] to_classes):
    """Copies lists to other places, the zeros of some rows left out."""
    cdef Py_ssize_t i, k, at
    with nogil:
        for i in range(start.shape[0]):
            at = to[i]
            for k in range(start[i], start[i] + count[i]):
                if k == start[i] or keep_zeros[i] or values[k] != 0:
                    to_values[at] = values[k]
                    to_classes[at] = classes[k]
                    at += 1


cdef void *_address(str name, array, dict owners) except? NULL:
    """Where a C-contiguous array starts; owners keeps it alive."""
    if array is None:
        return NULL
    if not array.flags.c_contiguous:
        raise ValueError("kernels take C-contiguous arrays")
    owners[name] = array
    return <void *><size_t>array.ctypes.data


cdef class Problem:
    """Arrays of one problem (see kernels.h), kept alive while kernels point into them."""

    cdef cs_problem p
    cdef const cs_kernels *kernels
    cdef int types
    cdef int64_t rows_per_piece, block, block_of_sweep
    cdef dict owners
    cdef int threads

    def __init__(self, x, *, n_rows, n_features, n_classes, y, bias, indices=None, indptr=None):
        self.owners = {}
        self.threads = 1
        self.kernels = _kernels
        self.p.x = _address("x", x, self.owners)
        self.p.indices = <const int32_t *>_address("indices", indices, self.owners)
        self.p.indptr = <const int64_t *>_address("indptr", indptr, self.owners)
        self.p.y = <const int32_t *>_address("y", y, self.owners)
        self.p.n_rows = n_rows
        self.p.n_features = n_features
        self.p.n_classes = n_classes
        self.p.bias = bias
        # dense rows are scored together, as many as caches hold; the fewer classes, the more the
        # products of such rows with each other would cost a sweep
        cdef int64_t fit = SCORES // CS_PADDED(&self.p) // WIDE_LANES * WIDE_LANES
        self.block = self.block_of_sweep = 1
        if indices is None:
            self.block = min(max(fit, WIDE_LANES), CS_MOST_ROWS)
            fit = n_classes // 8 // WIDE_LANES * WIDE_LANES
            self.block_of_sweep = min(max(fit, WIDE_LANES), self.block)
        self.p.block = self.block
        self.types = CS_FFF if x.dtype.char == "f" else CS_DDD
        # the cost of a row: its stored values times the (padded) classes
        cdef int64_t width = n_features if indptr is None else x.shape[0] // n_rows + 1
        self.rows_per_piece = max(CS_BLOCK, PIECE // (width * n_classes))
        if n_classes > CS_LANES:
            # whole blocks
            self.rows_per_piece += self.block - 1
            self.rows_per_piece -= self.rows_per_piece % self.block

    def set_state(self, w, b, cap, step, margin):
        owners = self.owners
        self.p.w = _address("w", w, owners)
        self.p.stride = w.shape[1]
        self.p.b = _address("b", b, owners)
        self.p.cap = <const double *>_address("cap", cap, owners)
        self.p.step = <const double *>_address("step", step, owners)
        self.p.margin = _address("margin", margin, owners)
        if self.types not in (CS_DDD, CS_DDF):
            self.types = CS_FFF if w.dtype.char == "f" else CS_FDF

    cdef _set_dual_type(self, array):
        if self.types in (CS_FDF, CS_FDD):
            self.types = CS_FDF if array.dtype.char == "f" else CS_FDD
        elif self.types in (CS_DDF, CS_DDD):
            self.types = CS_DDF if array.dtype.char == "f" else CS_DDD

    def set_dense_duals(self, beta):
        self._set_dual_type(beta)
        self.p.beta = _address("beta", beta, self.owners)

    def scratch_size(self):
        """Numbers, in the state's type, and class indices that set_scratch takes."""
        return cs_scratch(&self.p), (self.block + 1) * CS_PADDED(&self.p)

    def set_scratch(self, values, classes, threads):
        """Arrays of these sizes, and how many threads may score rows."""
        self.threads = threads
        self.p.scratch = _address("scratch", values, self.owners)
        self.p.scratch_class = <int32_t *>_address("scratch_class", classes, self.owners)

    def set_packed_duals(self, start, count, room, pool_class, pool_value, pool_used):
        owners = self.owners
        self._set_dual_type(pool_value)
        self.p.beta = NULL
        self.p.start = <int64_t *>_address("start", start, owners)
        self.p.count = <int32_t *>_address("count", count, owners)
        self.p.room = <int32_t *>_address("room", room, owners)
        self.p.pool_class = <int32_t *>_address("pool_class", pool_class, owners)
        self.p.pool_value = _address("pool_value", pool_value, owners)
        self.p.pool_size = pool_value.shape[0]
        self.p.pool_used = pool_used

    def epoch(self, int32_t[::1] rows, int32_t[::1] kept, bint listed=False):
        """Sweeps rows; returns (visited, number kept, gap), visited < len(rows) if the pool of
        duals is full. Listed: only the classes on a row's list are visited."""
        cdef double gap = 0.0
        cdef int64_t done = 0, n_kept = 0, piece, visited, m = rows.shape[0]
        cdef cs_epoch kernel = self.kernels.epoch[self.types]
        if listed:
            kernel = self.kernels.epoch_listed[self.types]
        self.p.block = self.block_of_sweep
        while done < m:
            piece = min(self.rows_per_piece, m - done)
            with nogil:
                visited = kernel(&self.p, &rows[done], piece, &kept[0], &n_kept, &gap)
            done += visited
            PyErr_CheckSignals()
            if visited < piece:
                break
        return done, n_kept, gap

    def score(self, int32_t[::1] rows, float[::1] slack, float[::1] beyond=None, nearly=0.0):
        """Measures rows; returns their gap. With `beyond`, those of no more slack are listed."""
        return self._in_pieces(rows, slack, beyond, nearly, False)

    def score_listed(self, int32_t[::1] rows, float[::1] slack):
        """Measures rows as if there were no other classes than those on their lists."""
        return self._in_pieces(rows, slack, None, 0.0, True)

    def _in_pieces(self, int32_t[::1] rows, float[::1] slack, beyond, nearly, listed):
        """The sum over pieces, in their order, whatever thread has which."""
        cdef int64_t m = rows.shape[0]
        gap = 0.0
        firsts = range(0, m, self.rows_per_piece)
        n_threads = min(self.threads, len(firsts))
        if n_threads < 2:
            for first in firsts:
                gap += self._piece(rows, slack, beyond, nearly, listed, first, None)
                PyErr_CheckSignals()
            return gap
        own = self.owners["scratch"], self.owners["scratch_class"]
        free = [[np.empty_like(part) for part in own] for _ in range(n_threads)]

        def piece(first):
            scratch = free.pop()
            found = self._piece(rows, slack, beyond, nearly, listed, first, scratch)
            free.append(scratch)
            return found

        threads = ThreadPoolExecutor(n_threads)
        try:
            for found in threads.map(piece, firsts):
                gap += found
        finally:
            threads.shutdown(cancel_futures=True)
        return gap

    def _piece(self, int32_t[::1] rows, float[::1] slack, float[::1] beyond, float nearly,
               bint listed, int64_t first, scratch):
        cdef cs_problem p = self.p
        p.block = self.block
        cdef int64_t n = min(self.rows_per_piece, rows.shape[0] - first)
        cdef float *others = &beyond[first] if beyond is not None else NULL
        cdef double gap
        if scratch is not None:
            p.scratch = _address("scratch", scratch[0], {})
            p.scratch_class = <int32_t *>_address("scratch_class", scratch[1], {})
        with nogil:
            if listed:
                gap = self.kernels.score_listed[self.types](&p, &rows[first], n, &slack[first])
            else:
                gap = self.kernels.score[self.types](
                    &p, &rows[first], n, &slack[first], others, nearly
                )
        return gap

    def weights(self, int32_t[::1] rows, double sign, double[:, ::1] w, double[::1] b):
        """Adds sign times alpha_i x_i^T of the rows to w and alpha_i to b; returns sign times the
        sum of alpha_{i, y_i}."""
        cdef double total = 0.0
        cdef int64_t done = 0, piece, m = rows.shape[0]
        while done < m:
            piece = min(self.rows_per_piece, m - done)
            with nogil:
                total += self.kernels.weights[self.types](
                    &self.p, &rows[done], piece, sign, &w[0, 0], &b[0]
                )
            done += piece
            PyErr_CheckSignals()
        return total

    def alphas(self, const int32_t[::1] rows, double[::1] out):
        """alpha of the rows where duals are stored, one row after the other."""
        if rows.shape[0]:
            with nogil:
                self.kernels.alphas[self.types](&self.p, &rows[0], rows.shape[0], &out[0])

    def norms(self, const double[::1] probe, double[::1] norms, double[::1] keys):
        """Squared norms of all rows, and keys that are equal for equal rows."""
        cdef int64_t done = 0, piece, m = norms.shape[0]
        while done < m:
            piece = min(self.rows_per_piece, m - done)
            with nogil:
                self.kernels.norms[self.types](
                    &self.p, done, done + piece, &probe[0], &norms[0], &keys[0]
                )
            done += piece
            PyErr_CheckSignals()


cdef int _nearest(const double *start, const double *score, const double *move, double t,
                  double step, int own, double cap, int n, double *out) noexcept nogil:
    """out = the point nearest to start + step (score + t move) with sum 0, out[own] >= -cap and the
    others >= 0: beta less cap at the label's class. Members, those above their bounds, are the
    entries below which out stays; returns their number, and marks the others by adding nothing."""
    cdef double top = -1e300, best = -1e300, total, tau, low
    cdef int k, size, before
    for k in range(n):
        out[k] = score[k] + t * move[k] if move != NULL else score[k]
        top = max(top, out[k])
    for k in range(n):
        out[k] = start[k] + step * (out[k] - top)
        best = max(best, out[k] + cap if k == own else out[k])
    # tau is at least this much; the set above it only shrinks
    tau = best - cap
    size = n + 1
    while True:
        before = size
        size = 0
        total = 0.0
        for k in range(n):
            low = -cap if k == own else 0.0
            if out[k] - low > tau or (before > n and out[k] - low >= best):
                total += out[k]
                size += 1
            else:
                total += low
        # rounding may even let it grow
        if size >= before or size == 0:
            break
        tau = total / size
        if size == 1:
            break
    before = size
    size = 0
    for k in range(n):
        low = -cap if k == own else 0.0
        if before <= 1:
            # all of the mass on one class, exactly
            out[k] = (cap + low) if out[k] - low >= best and size == 0 else low
            size += out[k] > low
        elif out[k] - low > tau:
            out[k] -= tau
            size += 1
        else:
            out[k] = low
    return size


def proximal_step(const double[:, ::1] start, const double[:, ::1] score, const double[::1] step,
                  const int32_t[::1] own, const double[::1] cap, double[:, ::1] out):
    """Row by row the maximizer of <score, b> - ||b - start||^2 / (2 step) over the row's simplex."""
    cdef Py_ssize_t i
    cdef int n = score.shape[1]
    with nogil:
        for i in range(score.shape[0]):
            _nearest(&start[i, 0], &score[i, 0], NULL, 0.0, step[i], own[i], cap[i], n, &out[i, 0])


def proximal_slope(const double[:, ::1] start, const double[:, ::1] score,
                   const double[:, ::1] move, double t, const double[::1] step,
                   const int32_t[::1] own, const double[::1] cap, double[::1] scratch):
    """sum_i <b_i, move_i> of the maximizers at score + t move."""
    cdef Py_ssize_t i
    cdef int k, n = score.shape[1]
    cdef double total = 0.0, row
    with nogil:
        for i in range(score.shape[0]):
            _nearest(&start[i, 0], &score[i, 0], &move[i, 0], t, step[i], own[i], cap[i], n,
                     &scratch[0])
            row = 0.0
            for k in range(n):
                row += scratch[k] * move[i, k]
            total += row
    return total
