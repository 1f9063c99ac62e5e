/* Which instruction set to use, decided at run time. */
#include "kernels.h"

#include <stddef.h>
#include <string.h>

#if CS_X86
#if defined(_MSC_VER) /* clang-cl, which links without what __builtin_cpu_supports calls */
#include <intrin.h>

#define XSAVE __attribute__((target("xsave")))

XSAVE static int has_avx2(void)
{
    int id[4], more[4];
    __cpuid(id, 1);
    /* FMA, and that the system saves the wide registers */
    if (!(id[2] >> 12 & 1) || !(id[2] >> 27 & 1) || (_xgetbv(0) & 6) != 6) return 0;
    __cpuidex(more, 7, 0);
    return more[1] >> 5 & 1;
}

XSAVE static int has_avx512(void)
{
    int id[4];
    __cpuidex(id, 7, 0);
    /* F, DQ, BW and VL */
    return (_xgetbv(0) & 0xe6) == 0xe6 && (id[1] >> 16 & 1) && (id[1] >> 17 & 1) &&
           (id[1] >> 30 & 1) && (id[1] >> 31 & 1);
}
#else
static int has_avx2(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static int has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}
#endif
#endif

int64_t cs_scratch(const cs_problem *p)
{
    const int64_t block = p->block, lines = CS_LINES + 2 * block;
    int64_t size = lines * CS_PADDED(p);
    /* rows, a panel of classes, and the rows' Gram matrix */
    if (p->indices == NULL)
        size += block * CS_ROW_WIDTH(p) + CS_DEPTH * 2 * CS_LANES + block * block;
    return size;
}

const cs_kernels *cs_select(const char *name)
{
    const cs_kernels *tables[3] = {&cs_kernels_baseline, NULL, NULL};
    const cs_kernels *best = NULL;
    int i;
#if CS_X86
    if (has_avx2()) {
        tables[1] = &cs_kernels_avx2;
        if (has_avx512()) tables[2] = &cs_kernels_avx512;
    }
#endif
    for (i = 0; i < 3; i++)
        if (tables[i] != NULL && (name[0] == '\0' || strcmp(name, tables[i]->name) == 0))
            best = tables[i];
    return best;
}
