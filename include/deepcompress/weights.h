/*
 * The constants of one layer, in the form that kernels read.
 */
#ifndef DEEPCOMPRESS_WEIGHTS_H
#define DEEPCOMPRESS_WEIGHTS_H

#include <stdint.h>

#include "model.h"

/*
 * Integers of a layer, one per output channel, in as few bytes as possible. Everything except the
 * data is a constant for the compiler.
 */
typedef struct {
    const void *data; /* int8_t, int16_t or int32_t [channels], or [1] if shared */
    int32_t width;    /* bytes per integer: 1, 2 or 4 */
    int32_t shift;    /* the integers are data << shift */
    int32_t shared;   /* whether all channels share one */
} dc_constants;

DC_INLINE int32_t dc_constant(const dc_constants *constants, int32_t channel) {
    const int32_t at = constants->shared ? 0 : channel;
    const int32_t stored = constants->width == 1   ? ((const int8_t *)constants->data)[at]
                           : constants->width == 2 ? ((const int16_t *)constants->data)[at]
                                                   : ((const int32_t *)constants->data)[at];
    return stored * ((int32_t)1 << constants->shift);
}

typedef struct {
    const void *values;   /* int8_t [out][k] if dense, else the encoded values */
    const uint8_t *index; /* positions of the values, if the encoding stores them separately */
    dc_constants bias;
    dc_constants multiplier; /* see requantize.h */
    int32_t zero_point;      /* of the input, which the kernel subtracts; 0 if it is in the bias */
    const uint8_t *codebook; /* the weights of the packed values, if the values are packed */
} dc_weights;

#endif
