from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t


cdef extern from "kernels.h" nogil:
    enum:
        CS_LANES
        CS_BLOCK
        CS_MOST_ROWS
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
        int64_t block
        void *scratch
        int32_t *scratch_class

    ctypedef int64_t (*cs_epoch)(cs_problem *, const int32_t *, int64_t, int32_t *, int64_t *,
                                 double *) noexcept nogil

    ctypedef struct cs_kernels:
        const char *name
        cs_epoch epoch[5]
        double (*score[5])(const cs_problem *, const int32_t *, int64_t, float *, float *,
                           float) noexcept nogil
        cs_epoch epoch_listed[5]
        double (*score_listed[5])(const cs_problem *, const int32_t *, int64_t,
                                  float *) noexcept nogil
        double (*weights[5])(const cs_problem *, const int32_t *, int64_t, double, double *,
                             double *) noexcept nogil
        void (*alphas[5])(const cs_problem *, const int32_t *, int64_t, double *) noexcept nogil
        void (*norms[5])(const cs_problem *, int64_t, int64_t, const double *, double *,
                         double *) noexcept nogil

    const cs_kernels *cs_select(const char *name)
    int64_t CS_PADDED(const cs_problem *)
    int64_t cs_scratch(const cs_problem *)
