/* Which instruction set to use, decided at run time. */
#include "kernels.h"

#include <stddef.h>
#include <string.h>

const cs_kernels *cs_select(const char *name)
{
    const cs_kernels *tables[3] = {&cs_kernels_baseline, NULL, NULL};
    const cs_kernels *best = NULL;
    int i;
#if CS_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        tables[1] = &cs_kernels_avx2;
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
            __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
            tables[2] = &cs_kernels_avx512;
    }
#endif
    for (i = 0; i < 3; i++)
        if (tables[i] != NULL && (name[0] == '\0' || strcmp(name, tables[i]->name) == 0))
            best = tables[i];
    return best;
}
