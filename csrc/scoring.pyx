"""What is done with a block of attributions once its kernel values are known.

A block holds kernel values of some test rows with some training rows; coef[c], or coef[r, c], times
block[r, c] is an attribution.
"""

from cython cimport floating
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy

ctypedef fused Index:
    int32_t
    int64_t


cdef inline bint _worse(floating v, int64_t i, floating w, int64_t j) noexcept nogil:
    """Whether (v, i) ranks behind (w, j): smaller value, or equal and a later training row."""
    return v < w or (v == w and i > j)


cdef void _replace_worst(floating *value, int64_t *index, Py_ssize_t k, floating v,
                         int64_t i) noexcept nogil:
    """Sifts (v, i) down from the root of a heap whose root is the worst of the best k."""
    cdef Py_ssize_t at = 0, child
    while True:
        child = 2 * at + 1
        if child >= k:
            break
        if child + 1 < k and _worse(value[child + 1], index[child + 1], value[child], index[child]):
            child += 1
        if not _worse(value[child], index[child], v, i):
            break
        value[at] = value[child]
        index[at] = index[child]
        at = child
    value[at] = v
    index[at] = i


def scatter(const floating[:, ::1] block, const floating[:, ::1] coef, const int64_t[::1] starts,
            const int64_t[::1] columns, floating[::1] out):
    """out[starts[r] + columns[c]] = coef[r, c] * block[r, c]; one row of coef serves all.

    starts are where rows begin: in a dense matrix, or among the stored values of a CSR one.
    """
    cdef Py_ssize_t r, c, q, n = block.shape[1]
    cdef bint together
    cdef floating *to
    cdef const floating *a
    cdef const floating *b
    if n == 0:
        return
    together = columns[n - 1] - columns[0] == n - 1
    with nogil:
        for r in range(block.shape[0]):
            q = r if coef.shape[0] > 1 else 0
            a = &coef[q, 0]
            b = &block[r, 0]
            if together:
                to = &out[starts[r] + columns[0]]
                for c in range(n):
                    to[c] = a[c] * b[c]
            else:
                to = &out[starts[r]]
                for c in range(n):
                    to[columns[c]] = a[c] * b[c]


def repeat(const Index[::1] row, const int64_t[::1] starts, Index[::1] out):
    """out[starts[r] + c] = row[c]."""
    cdef Py_ssize_t r, n = row.shape[0]
    if n == 0:
        return
    with nogil:
        for r in range(starts.shape[0]):
            memcpy(&out[starts[r]], &row[0], n * sizeof(Index))


def update_top(const floating[:, ::1] block, const floating[:, ::1] coef, const int64_t[::1] rows,
               const int64_t[::1] columns, floating[:, ::1] values, int64_t[:, ::1] indices):
    """values[rows[r], :], indices[rows[r], :] are heaps of the k largest so far."""
    cdef Py_ssize_t r, c, q, first, stop, k = values.shape[1]
    cdef floating bound, v
    cdef floating *value
    cdef int64_t *index
    cdef const floating *a
    cdef const floating *b
    cdef int found
    with nogil:
        for r in range(block.shape[0]):
            value = &values[rows[r], 0]
            index = &indices[rows[r], 0]
            q = r if coef.shape[0] > 1 else 0
            first = 0
            while first < block.shape[1]:
                stop = min(first + 64, block.shape[1])
                bound = value[0]
                a = &coef[q, first]
                b = &block[r, first]
                # most stretches hold nothing that enters: one comparison each, vectorized
                found = 0
                for c in range(stop - first):
                    found |= a[c] * b[c] >= bound
                if found:
                    for c in range(first, stop):
                        v = coef[q, c] * block[r, c]
                        if _worse(value[0], index[0], v, columns[c]):
                            _replace_worst(value, index, k, v, columns[c])
                first = stop
