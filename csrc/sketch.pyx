"""CountSketches of rows: signed blocks of a row, shifted cyclically and added up.

Coordinate c of block b goes to place (c + shifts[b]) % k:

    for b, shift in enumerate(shifts):
        out += np.roll(signed[:, b * k : (b + 1) * k], shift, axis=1)     # a short block: padded
"""

from cython cimport floating
from libc.stdint cimport int8_t, int64_t

cdef enum:
    # coordinates whose signs stay in the cache while all rows go past
    TILE = 16384


cdef inline void _add(floating *out, const floating *g, const int8_t *sign,
                      Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        out[j] += g[j] * sign[j]


def add_sketch(const floating[:, ::1] G, const int8_t[::1] signs, const int64_t[::1] shifts,
               floating[:, ::1] out):
    """Adds the sketches of G (n, size) to out (n, k).

    signs (size,) are +-1; shifts, one for each k coordinates or part of them, lie in 0..k-1.
    """
    cdef Py_ssize_t n = G.shape[0], size = G.shape[1], k = out.shape[1]
    if k < 1:
        raise ValueError("out has no columns")
    cdef Py_ssize_t blocks = (size + k - 1) // k, together = max(1, TILE // k)
    cdef Py_ssize_t i, b, first, last, start, width, kept, shift
    if out.shape[0] != n or signs.shape[0] != size or shifts.shape[0] != blocks:
        raise ValueError("G, signs, shifts and out do not belong together")
    for b in range(blocks):
        if not 0 <= shifts[b] < k:
            raise ValueError(f"shift {shifts[b]} is not one of {k} places")
    with nogil:
        first = 0
        while first < blocks:
            last = min(first + together, blocks)
            for i in range(n):
                for b in range(first, last):
                    start = b * k
                    shift = shifts[b]
                    width = min(k, size - start)
                    kept = min(width, k - shift)
                    _add(&out[i, 0] + shift, &G[i, 0] + start, &signs[0] + start, kept)
                    _add(&out[i, 0], &G[i, 0] + start + kept, &signs[0] + start + kept,
                         width - kept)
            first = last
