"""What a CSR matrix must be before anything compiled follows its pointers."""

from libc.stdint cimport int32_t, int64_t, uint64_t

ctypedef fused pointer_t:
    int32_t
    int64_t

ctypedef fused column_t:
    int32_t
    int64_t


def check_pointers(const pointer_t[::1] indptr, const column_t[::1] indices, int64_t n_columns):
    """Whether columns are sorted and distinct in every row and no entry is left over.

    ValueError for what leads outside. indptr has an entry at least.
    """
    cdef Py_ssize_t i = 0, j = 0, n = indptr.shape[0] - 1, size = indices.shape[0]
    cdef int64_t last
    cdef bint canonical = True, outside = False, broken = indptr[0] != 0
    with nogil:
        while i < n and not broken:
            if indptr[i + 1] < indptr[i] or indptr[i + 1] > size:
                broken = True
                break
            last = -1
            for j in range(indptr[i], indptr[i + 1]):
                outside |= <uint64_t>indices[j] >= <uint64_t>n_columns
                canonical &= indices[j] > last
                last = indices[j]
            if outside:
                break
            i += 1
    if broken:
        first, stop = indptr[i], indptr[min(i + 1, n)]
        raise ValueError(
            f"row {i} is at {first}..{stop} of {size} stored entries; rows must start at 0 and "
            "follow one another"
        )
    if outside:
        column = next(k for k in indices[indptr[i] : indptr[i + 1]] if not 0 <= k < n_columns)
        raise ValueError(f"row {i} has an entry in column {column} of {n_columns}")
    return canonical and indptr[n] == size
