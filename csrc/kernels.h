/* The compiled kernels of the Crammer-Singer solver: one table of functions per instruction set. */
#ifndef SKATTRIB_KERNELS_H
#define SKATTRIB_KERNELS_H

#include <math.h>
#include <stdint.h>

/* The dialect with vectors: gcc, and clang under any name, clang-cl too. */
#if defined(__GNUC__) || defined(__clang__)
#define CS_GNU 1
#else
#define CS_GNU 0
#endif

#if CS_GNU && defined(__x86_64__)
#define CS_X86 1
#if defined(_MSC_VER)
/* clang-cl shows AVX only to files that use nothing less, unless it is not taken for cl */
#include <malloc.h>
#include <stdlib.h>
#pragma push_macro("_MSC_VER")
#undef _MSC_VER
#include <immintrin.h>
#pragma pop_macro("_MSC_VER")
#else
#include <immintrin.h>
#endif
#else
#define CS_X86 0
#endif

#ifdef CS_CHECK
#define CS_CHECKED 1
#else
#define CS_CHECKED 0
#endif

/* Up to this many classes the duals are a dense matrix with rows of this width (one cache line in
 * float32); beyond it every row is a short list of (class, value) in a pool. */
#define CS_LANES 16

/* Narrow rows are scored this many at a time where their order allows it. */
#define CS_BLOCK 8

/* Wide: what rows of scores are padded to, what dense rows are padded to in scratch memory, the lines
 * of padded classes there, rows that a block has at most, and features that are summed at a time. */
#define CS_PADDED(p) (((p)->n_classes + 2 * CS_LANES - 1) / (2 * CS_LANES) * (2 * CS_LANES))
#define CS_ROW_WIDTH(p) (((p)->n_features + CS_LANES - 1) / CS_LANES * CS_LANES)
#define CS_LINES 3
#define CS_MOST_ROWS 256
#define CS_DEPTH 128

/* Score of lanes beyond the last class: no number is below it. */
#define CS_NO_CLASS (-INFINITY)

/* Three types: "X" of x, "S" of W and the scores, "D" of the duals. cap and step are double. Named
 * in this order, f for float and d for double. */
enum { CS_FFF, CS_FDF, CS_FDD, CS_DDD, CS_DDF, CS_TYPES };

typedef struct {
    int64_t n_rows, n_features, n_classes;
    const void *x;          /* X: rows of n_features, or CSR values */
    const int32_t *indices; /* CSR columns; NULL means dense */
    const int64_t *indptr;
    const int32_t *y;       /* class index of each row */
    const double *cap;      /* C s_i */
    const double *step;     /* 1 / (||x_i||^2 + bias^2) */
    double bias;            /* size of the constant feature that is implied; 0: none */
    void *w;                /* S, dense x: (n_classes, stride); CSR x: (n_features, stride) */
    int64_t stride;         /* a multiple of CS_LANES, zero beyond the data */
    void *b;                /* S, (classes padded to CS_LANES): weights of the constant feature */
    const void *margin;     /* S, narrow only: 1 - e_y (n_classes, CS_LANES), CS_NO_CLASS beyond,
                               then e_y likewise with 0 beyond */
    /* beta = C s_i e_{y_i} - alpha_i >= 0, sum_m beta_im = C s_i. Stored is -alpha: beta but for
     * the label's class, beta - C s_i there, so that duals far below C s_i keep their digits.
     * What they are in double is written in one place, feasible in rows.inc. */
    void *beta;             /* D, narrow: (n, CS_LANES); NULL means wide */
    int64_t *start;         /* wide: first pool entry (the label's class), entries used and owned;
                               other entries may be zero, for classes that listed visits try */
    int32_t *count, *room;
    int32_t *pool_class;
    void *pool_value;       /* D */
    int64_t pool_used, pool_size;
    int64_t block;          /* wide: rows scored together, a multiple of 2 CS_LANES; CSR x: 1 */
    void *scratch;          /* S, wide: cs_scratch */
    int32_t *scratch_class; /* wide: (block + 1) * padded classes */
} cs_problem;

/* epoch:   visits rows[0..m) in order, moves each to the maximizer of D over its duals, keeps
 *          W = W(beta), and writes the rows worth another visit to kept (may be rows itself): all
 *          but those at a vertex of their simplex that stays optimal. Adds sum_i g_i as met, where
 *          g_i = sum_m beta_im (max_k s_ik - s_im). Returns rows visited: fewer than m when the pool
 *          must grow.
 * score:   adds the same sum without moving anything; slack[t] = how far the class that holds all
 *          of the row's mass is above the others, negative for a row that is not settled. Where
 *          beyond is not NULL (wide only) the lists of rows with at most nearly so much slack are
 *          filled up with the classes of the highest scores, and beyond[t] is how far all others
 *          are below the top; -1 for the other rows.
 * epoch_listed, score_listed: the same (dense wide rows) as if there were no classes but those on
 *          a row's list, which stays as it is.
 * weights: w += sign * sum_i alpha_i x_i^T over rows[0..m), b likewise, in double; returns
 *          sign * sum_i alpha_{i, y_i}.
 * alphas:  the same alpha_i where rows are stored, one row after the other: CS_LANES values each,
 *          or as many as are in use.
 * norms:   ||x_i||^2 and a key, equal for equal rows, of each row in [first, last). */
typedef int64_t (*cs_epoch)(cs_problem *, const int32_t *rows, int64_t m, int32_t *kept,
                            int64_t *n_kept, double *gap);

typedef struct {
    const char *name;
    cs_epoch epoch[CS_TYPES];
    double (*score[CS_TYPES])(const cs_problem *, const int32_t *rows, int64_t m, float *slack,
                              float *beyond, float nearly);
    cs_epoch epoch_listed[CS_TYPES];
    double (*score_listed[CS_TYPES])(const cs_problem *, const int32_t *rows, int64_t m,
                                     float *slack);
    double (*weights[CS_TYPES])(const cs_problem *, const int32_t *rows, int64_t m, double sign,
                                double *w, double *b);
    void (*alphas[CS_TYPES])(const cs_problem *, const int32_t *rows, int64_t m, double *out);
    void (*norms[CS_TYPES])(const cs_problem *, int64_t first, int64_t last, const double *probe,
                            double *norms, double *keys);
} cs_kernels;

extern const cs_kernels cs_kernels_baseline;
#if CS_X86
extern const cs_kernels cs_kernels_avx2;
extern const cs_kernels cs_kernels_avx512;
#endif

/* Numbers of scratch memory that a wide problem needs, its block known. */
int64_t cs_scratch(const cs_problem *p);

/* The best table that this processor runs, or the named one; NULL when it cannot run it. */
const cs_kernels *cs_select(const char *name);

#endif
