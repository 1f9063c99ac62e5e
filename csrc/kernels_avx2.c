/* Kernels for x86-64 with AVX2 and FMA. */
#include "kernels.h"
#if CS_X86
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#define CS_LEVEL 2
#define CS_LEVEL_NAME avx2
#include "kernels.inc"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
