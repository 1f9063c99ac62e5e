/* Solves small problems with the kernels alone and prints their duals and gaps: the same numbers on
 * every processor, up to rounding. */
#include "kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS 60
#define FEATURES 13
#define MOST_CLASSES 40
#define PADDED 64
#define BLOCK 32
#define LISTED 16 /* classes on a list at most */

static uint64_t state = 88172645463325252u;

static double uniform(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (double)(state >> 11) / 9007199254740992.0 - 0.5;
}

/* kinds of problems: the types of X and of the duals, dense or CSR, few or many classes; the latter,
 * if dense, are swept by turns over all classes and those on lists */
static void solve(const cs_kernels *kernels, int number)
{
    const int single = number & 1, csr = number >> 1 & 1, K = number >> 2 & 1 ? 3 + number : 20 + number;
    const int types = single ? CS_FDD : CS_DDD, narrow = K <= CS_LANES, listed = !narrow && !csr;
    const int stride = csr ? (narrow ? CS_LANES : PADDED) : CS_LANES;
    static double x[ROWS * FEATURES], w[PADDED * PADDED], b[PADDED], cap[ROWS], step[ROWS];
    static double margin[2 * CS_LANES * CS_LANES], beta[ROWS * PADDED];
    static double scratch[PADDED * (3 + 2 * BLOCK) + BLOCK * (BLOCK + CS_LANES) + 256 * CS_LANES];
    static float x32[ROWS * FEATURES], slack[ROWS], beyond[ROWS];
    static int32_t y[ROWS], rows[ROWS], kept[ROWS], indices[ROWS * FEATURES], count[ROWS];
    static int32_t room[ROWS], classes[ROWS * PADDED], scratch_class[PADDED * (1 + BLOCK)];
    static int64_t indptr[ROWS + 1], start[ROWS];
    static double alpha[ROWS * PADDED];
    cs_problem p;
    double gap = 0, sum = 0;
    int i, j, k, sweep;
    memset(&p, 0, sizeof(p));
    memset(w, 0, sizeof(w));
    memset(b, 0, sizeof(b));
    memset(beta, 0, sizeof(beta));
    for (i = 0; i < ROWS; i++) {
        double norm = 1;
        y[i] = i % K;
        rows[i] = i;
        for (j = 0; j < FEATURES; j++) {
            const float v = (float)(uniform() + (j == y[i] % FEATURES));
            x32[i * FEATURES + j] = v;
            x[i * FEATURES + j] = v;
            indices[i * FEATURES + j] = j;
            norm += (double)v * v;
        }
        indptr[i + 1] = (i + 1) * FEATURES;
        cap[i] = 0.3 * (1 + i % 3);
        step[i] = 1 / norm;
        start[i] = i * PADDED;
        count[i] = 1;
        room[i] = PADDED;
        classes[start[i]] = y[i];
    }
    for (i = 0; narrow && i < K; i++)
        for (k = 0; k < CS_LANES; k++) {
            margin[i * CS_LANES + k] = k < K ? i != k : CS_NO_CLASS;
            margin[(K + i) * CS_LANES + k] = i == k;
        }
    p.n_rows = ROWS;
    p.n_features = FEATURES;
    p.n_classes = K;
    p.x = single ? (const void *)x32 : x;
    p.indices = csr ? indices : NULL;
    p.indptr = csr ? indptr : NULL;
    p.y = y;
    p.cap = cap;
    p.step = step;
    p.bias = 1;
    p.w = w;
    p.stride = stride;
    p.b = b;
    p.margin = margin;
    p.beta = narrow ? beta : NULL;
    p.start = start;
    p.count = count;
    p.room = room;
    p.pool_class = classes;
    p.pool_value = beta;
    p.pool_size = ROWS * PADDED;
    p.pool_used = ROWS * PADDED;
    p.block = csr ? 1 : BLOCK;
    p.scratch = scratch;
    p.scratch_class = scratch_class;
    if (cs_scratch(&p) > (int64_t)(sizeof(scratch) / sizeof(*scratch))) abort();
    for (sweep = 0; sweep < 1000; sweep++) {
        int64_t n_kept = 0;
        if (listed && sweep % 10 == 0) {
            for (i = 0; i < ROWS; i++) room[i] = LISTED;
            kernels->score[types](&p, rows, ROWS, slack, beyond, INFINITY);
            for (i = 0; i < ROWS; i++) room[i] = PADDED;
        }
        (listed && sweep % 10 < 9 ? kernels->epoch_listed : kernels->epoch)[types](
            &p, rows, ROWS, kept, &n_kept, &gap);
    }
    if (listed) printf("%.12f ", kernels->score_listed[types](&p, rows, ROWS, slack));
    gap = kernels->score[types](&p, rows, ROWS, slack, NULL, 0);
    kernels->alphas[types](&p, rows, ROWS, alpha);
    printf("%d %.12f", number, gap);
    for (i = k = 0; i < ROWS; k += narrow ? CS_LANES : count[i], i++) {
        sum = 0;
        for (j = 0; j < (narrow ? CS_LANES : count[i]); j++)
            sum += alpha[k + j] * (1 + (narrow ? j : classes[start[i] + j]));
        printf(" %.12f", sum);
    }
    printf("\n");
}

int main(int argc, char **argv)
{
    const cs_kernels *kernels = cs_select(argc > 1 ? argv[1] : "");
    int number;
    if (kernels == NULL) return 1;
    fprintf(stderr, "%s\n", kernels->name);
    for (number = 0; number < 20; number++) solve(kernels, number);
    return 0;
}
