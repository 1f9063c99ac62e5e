/* Kernels for any processor: 16-byte vectors where the compiler has them, plain C elsewhere. */
#define CS_LEVEL 0
#define CS_LEVEL_NAME baseline
#include "kernels.inc"
