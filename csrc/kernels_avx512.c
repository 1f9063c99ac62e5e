/* Kernels for x86-64 with AVX-512 (F, DQ, BW, VL). */
#include "kernels.h"
#if CS_X86
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,avx512f,avx512dq,avx512bw,avx512vl"))), \
                             apply_to = function)
#else
#pragma GCC target("avx2,fma,avx512f,avx512dq,avx512bw,avx512vl")
#endif
#define CS_LEVEL 3
#define CS_LEVEL_NAME avx512
#include "kernels.inc"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
