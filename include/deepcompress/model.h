/*
 * Shared by generated models and the library: status codes, self test, assertions, inlining,
 * version.
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

/* A function of the library that the firmware may define itself. */
#if defined(__GNUC__)
#define DC_WEAK __attribute__((weak))
#elif defined(__ICCARM__)
#define DC_WEAK __weak
#else
#define DC_WEAK
#endif

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The flag DEEPCOMPRESS_ASSERT of a build checks the pointers that callers pass: not NULL, and at a
 * multiple of the size of `type`. Without it the checks are no code.
 */
#if defined(DEEPCOMPRESS_ASSERT)
#define DC_CHECK_POINTER(pointer, type)                                                            \
    ((pointer) != 0 && (uintptr_t)(pointer) % sizeof(type) == 0                                    \
         ? (void)0                                                                                 \
         : dc_assert_failed(__func__, #pointer " is NULL, or not aligned like " #type))

/*
 * Called if a check fails. The library's stops at an invalid instruction (a HardFault on Cortex-M);
 * the firmware may define another one. If it returns, the function continues with the pointer.
 */
void dc_assert_failed(const char *function, const char *what);
#else
#define DC_CHECK_POINTER(pointer, type) ((void)0)
#endif

/* 0 or a negative reason. Inference itself cannot fail. */
typedef enum {
    DC_OK = 0,
    DC_SELF_TEST_FAILED = -1, /* constants or results differ from those on the PC */
    DC_NO_GOLDEN_VECTORS = -2 /* compiled without the option self_test */
} dc_status;

/* A phrase for a status, never NULL. */
const char *dc_status_text(dc_status status);

/* What a self test found first. */
typedef enum {
    DC_STAGE_NONE = 0,      /* nothing differs, or there was no test */
    DC_STAGE_CONSTANTS = 1, /* the CRC-32 of the constant arrays; no layer was run */
    DC_STAGE_LAYER = 2,     /* the output of a layer; only with the option self_test_layers */
    DC_STAGE_VECTORS = 3    /* the outputs of the network */
} dc_stage;

/* The result of a self test. */
typedef struct {
    dc_status status;
    dc_stage stage;
    int vector;             /* the golden vector whose results differ, from 0; or -1 */
    int layer;              /* the first layer that differs, from 0 in execution order; or -1 */
    const char *layer_name; /* the name of this layer in the network; or "" */
} dc_self_test_result;

/* A phrase for a stage, never NULL. */
const char *dc_stage_text(dc_stage stage);

/*
 * The CRC-32 of zlib, gzip and PNG (polynomial 0x04C11DB7, reflected) of `bytes` bytes that follow
 * those of `crc`; 0 to begin. The firmware may define its own with a CRC unit: docs/self_test.md.
 */
uint32_t dc_crc32(uint32_t crc, const void *data, uint32_t bytes);

/* Index of the greatest of `count` scores, the first one if several are equal; count >= 1. */
int dc_argmax(const int8_t *scores, int count);

#ifdef __cplusplus
}
#endif

#endif
