/*
 * Product of two tensors:
 *
 *   output = clamp(((a - first_zero) * (b - second_zero) * multiplier + offset) >> shift)
 *
 * The output's zero point and the rounding are in the offset. Differences are up to 255, the
 * multiplier is below 2^14 and the offset below 2^29 + 2^21, so the sum fits 32 bits.
 */
#ifndef DEEPCOMPRESS_KERNELS_MUL_H
#define DEEPCOMPRESS_KERNELS_MUL_H

#include <stdint.h>

#include "broadcast.h"
#include "scaled.h"

typedef struct {
    dc_broadcast loops;
    int32_t first_zero, second_zero;
    int32_t multiplier, offset;
    int32_t shift;            /* 1 .. 22 */
    int32_t minimum, maximum; /* of the output, after the activation function */
} dc_mul;

DC_INLINE int8_t dc_mul_scaled(const dc_mul *layer, int32_t product) {
    return dc_scaled(product + layer->offset, layer->shift, layer->minimum, layer->maximum);
}

/* The innermost loop. A factor that is read repeatedly is multiplied by the multiplier once. */
DC_INLINE void dc_mul_row(const dc_mul *layer, const int8_t *a, const int8_t *b, int8_t *output) {
    const int32_t size = layer->loops.inner;
    if (layer->loops.second_inner == 0) {
        const int32_t factor = (b[0] - layer->second_zero) * layer->multiplier;
        for (int32_t i = 0; i < size; ++i) {
            output[i] = dc_mul_scaled(layer, (a[i] - layer->first_zero) * factor);
        }
    } else if (layer->loops.first_inner == 0) {
        const int32_t factor = (a[0] - layer->first_zero) * layer->multiplier;
        for (int32_t i = 0; i < size; ++i) {
            output[i] = dc_mul_scaled(layer, (b[i] - layer->second_zero) * factor);
        }
    } else {
        for (int32_t i = 0; i < size; ++i) {
            const int32_t product = (a[i] - layer->first_zero) * (b[i] - layer->second_zero);
            output[i] = dc_mul_scaled(layer, product * layer->multiplier);
        }
    }
}

/* output [outer][middle][inner]; it may be an input of the same size */
DC_INLINE void dc_mul_int8(const dc_mul *layer, const int8_t *first, const int8_t *second,
                           int8_t *output) {
    const dc_broadcast *loops = &layer->loops;
    for (int32_t i = 0; i < loops->outer; ++i) {
        const int8_t *a = first + i * loops->first_outer;
        const int8_t *b = second + i * loops->second_outer;
        for (int32_t j = 0; j < loops->middle; ++j) {
            dc_mul_row(layer, a, b, output);
            a += loops->first_middle;
            b += loops->second_middle;
            output += loops->inner;
        }
    }
}

#endif
