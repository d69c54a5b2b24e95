/*
 * The constants of one layer as a kernel takes them.
 */
#ifndef DEEPCOMPRESS_WEIGHTS_H
#define DEEPCOMPRESS_WEIGHTS_H

#include <stdint.h>

#include "model.h"

/*
 * Integers of which a layer has one an output channel, in as few bytes as hold them. All but the
 * data is a constant to the compiler.
 */
typedef struct {
    const void *data; /* int8_t, int16_t or int32_t [channels], or [1] if shared */
    int32_t width;    /* bytes of one: 1, 2 or 4 */
    int32_t shift;    /* the integers are data << shift */
    int32_t shared;   /* whether one serves all channels */
} dc_constants;

DC_INLINE int32_t dc_constant(const dc_constants *constants, int32_t channel) {
    const int32_t at = constants->shared ? 0 : channel;
    const int32_t stored = constants->width == 1   ? ((const int8_t *)constants->data)[at]
                           : constants->width == 2 ? ((const int16_t *)constants->data)[at]
                                                   : ((const int32_t *)constants->data)[at];
    return stored * ((int32_t)1 << constants->shift);
}

typedef struct {
    const void *values;   /* int8_t [out][k] if dense, else the values, and what goes with them */
    const uint8_t *index; /* where the values belong, if the encoding stores that separately */
    dc_constants bias;
    dc_constants multiplier; /* see requantize.h */
    int32_t zero_point;      /* of the input, for the kernel to take off; 0 if it is in the bias */
    const uint8_t *codebook; /* the weights that packed values stand for, if they are */
} dc_weights;

#endif
