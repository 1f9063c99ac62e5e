from libc.stdint cimport int32_t, int64_t, uint64_t


cdef extern from "kernels.h" nogil:
    enum:
        CS_LANES
        CS_BLOCK
        CS_CHECKED
        CS_FFF
        CS_FDF
        CS_FDD
        CS_DDD
        CS_DDF

    ctypedef struct cs_problem:
        int64_t n_rows, n_features, n_classes
        const void *x
        const int32_t *indices
        const int64_t *indptr
        const int32_t *y
        const double *cap
        const double *step
        double bias
        void *w
        int64_t stride
        void *b
        const void *margin
        void *beta
        int64_t *start
        int32_t *count
        int32_t *room
        int32_t *pool_class
        void *pool_value
        int64_t pool_used, pool_size
        void *scratch
        int32_t *scratch_class

    ctypedef struct cs_kernels:
        const char *name
        int64_t (*epoch[5])(cs_problem *, const int32_t *, int64_t, int32_t *, int64_t *,
                            double *) noexcept nogil
        double (*score[5])(const cs_problem *, const int32_t *, int64_t, float *) noexcept nogil
        double (*weights[5])(const cs_problem *, const int32_t *, int64_t, double, double *,
                             double *) noexcept nogil
        void (*alphas[5])(const cs_problem *, const int32_t *, int64_t, double *) noexcept nogil
        void (*norms[5])(const cs_problem *, int64_t, int64_t, const double *, double *,
                         double *) noexcept nogil

    const cs_kernels *cs_select(const char *name)
