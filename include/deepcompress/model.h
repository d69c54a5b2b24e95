/*
 * Shared by generated models and the library: status codes, inlining, version.
 */
#ifndef DEEPCOMPRESS_MODEL_H
#define DEEPCOMPRESS_MODEL_H

#include <stdint.h>

#define DEEPCOMPRESS_VERSION "0.1.0"

/*
 * Kernels are inlined into one function per layer, so that the layer's constant shape is folded
 * into the loops; the layer itself is not inlined, so that it has a name in a profile and a
 * backtrace.
 *
 * A layer is compiled with -O2 whatever the rest of the firmware uses (Arduino has -Os, a debug
 * build -Og): with other levels gcc keeps sums of the inner loops in memory. DC_SMALL_LAYER, for
 * models that are optimised for size, keeps the firmware's level.
 */
#if defined(__GNUC__)
#define DC_INLINE      static inline __attribute__((always_inline))
#define DC_SMALL_LAYER static __attribute__((noinline))
#else
#define DC_INLINE      static inline
#define DC_SMALL_LAYER static
#endif

/* Checks an assumption of the model compiler when its output is compiled; at file scope. C99 has no
 * _Static_assert. */
#define DC_STATIC_ASSERT(condition, name) extern char name[(condition) ? 1 : -1]

#if defined(__GNUC__) && !defined(__clang__)
#define DC_LAYER DC_SMALL_LAYER __attribute__((optimize("O2")))
#else
#define DC_LAYER DC_SMALL_LAYER
#endif

/* Unrolls the next loop by this number of iterations. */
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 8
#define DC_PRAGMA(text)  _Pragma(#text)
#define DC_UNROLL(turns) DC_PRAGMA(GCC unroll turns)
#else
#define DC_UNROLL(turns)
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* 0 or a negative reason. Inference itself cannot fail. */
typedef enum {
    DC_OK = 0,
    DC_SELF_TEST_FAILED = -1, /* a golden vector's scores differ from those on the PC */
    DC_NO_GOLDEN_VECTORS = -2 /* compiled without the option self_test */
} dc_status;

/* A phrase for a status, never NULL. */
const char *dc_status_text(dc_status status);

/* Index of the greatest of `count` scores, the first one if several are equal; count >= 1. */
int dc_argmax(const int8_t *scores, int count);

#ifdef __cplusplus
}
#endif

#endif
