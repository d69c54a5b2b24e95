/*
 * What generated models and the library agree on: status codes, inlining, version.
 */
#ifndef DEEPCOMPRESS_MODEL_H
#define DEEPCOMPRESS_MODEL_H

#include <stdint.h>

#define DEEPCOMPRESS_VERSION "0.1.0"

/*
 * Kernels are inlined into one function a layer, so that the layer's constant shape is folded into
 * the loops; the layer itself is not inlined, so that it has a name in a profile and a backtrace.
 */
#if defined(__GNUC__) && !defined(__clang__)
/* Some steps need all registers there are. */
#define DC_NO_FRAME_POINTER __attribute__((optimize("omit-frame-pointer")))
#else
#define DC_NO_FRAME_POINTER
#endif

#if defined(__GNUC__)
#define DC_INLINE static inline __attribute__((always_inline))
#define DC_LAYER  static __attribute__((noinline)) DC_NO_FRAME_POINTER
#else
#define DC_INLINE static inline
#define DC_LAYER  static
#endif

/* The loop behind it, so many turns at once. */
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
    DC_SELF_TEST_FAILED = -1, /* a golden vector gave other scores than on the PC */
    DC_NO_GOLDEN_VECTORS = -2 /* compiled without the option self_test */
} dc_status;

/* A phrase for a status, never NULL. */
const char *dc_status_text(dc_status status);

/* Index of the greatest of `count` scores, the first of equals; `count` is at least 1. */
int dc_argmax(const int8_t *scores, int count);

#ifdef __cplusplus
}
#endif

#endif
