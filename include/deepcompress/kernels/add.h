/*
 * Sum or difference of two tensors:
 *
 *   output = clamp((first input * first + second input * second + offset) >> shift)
 *
 * The zero points and the rounding are in the offset. |first| and |second| are below 2^15 and the
 * offset below 2^29 + 2^23 + 2^21, so the sum fits 32 bits.
 */
#ifndef DEEPCOMPRESS_KERNELS_ADD_H
#define DEEPCOMPRESS_KERNELS_ADD_H

#include <stdint.h>

#include "broadcast.h"
#include "scaled.h"

typedef struct {
    dc_broadcast loops;
    int32_t first, second, offset;
    int32_t shift;            /* 1 .. 22 */
    int32_t minimum, maximum; /* of the output, after the activation function */
} dc_add;

DC_INLINE int8_t dc_add_scaled(const dc_add *layer, int32_t sum) {
    return dc_scaled(sum, layer->shift, layer->minimum, layer->maximum);
}

/* Four values; 7 cycles each on Cortex-M4. */
DC_INLINE void dc_add_four(const dc_add *layer, const int8_t *a, const int8_t *b, int8_t *output) {
    const uint32_t by_a = (uint32_t)layer->first, by_b = (uint32_t)layer->second;
    const uint32_t a0123 = dc_load_word(a), b0123 = dc_load_word(b);
    const uint32_t a02 = dc_sxtb16(a0123), a13 = dc_sxtb16_ror8(a0123);
    const uint32_t b02 = dc_sxtb16(b0123), b13 = dc_sxtb16_ror8(b0123);
    const int32_t offset = layer->offset;
    output[0] = dc_add_scaled(layer, dc_smlabb(a02, by_a, dc_smlabb(b02, by_b, offset)));
    output[1] = dc_add_scaled(layer, dc_smlabb(a13, by_a, dc_smlabb(b13, by_b, offset)));
    output[2] = dc_add_scaled(layer, dc_smlatb(a02, by_a, dc_smlatb(b02, by_b, offset)));
    output[3] = dc_add_scaled(layer, dc_smlatb(a13, by_a, dc_smlatb(b13, by_b, offset)));
}

/* The innermost loop. The product of an input that is read repeatedly is computed once. */
DC_INLINE void dc_add_row(const dc_add *layer, const int8_t *a, const int8_t *b, int8_t *output) {
    const int32_t size = layer->loops.inner;
    int32_t i = 0;
    if (layer->loops.second_inner == 0) {
        const int32_t offset = layer->offset + b[0] * layer->second;
        for (; i < size; ++i) {
            output[i] = dc_add_scaled(layer, a[i] * layer->first + offset);
        }
    } else if (layer->loops.first_inner == 0) {
        const int32_t offset = layer->offset + a[0] * layer->first;
        for (; i < size; ++i) {
            output[i] = dc_add_scaled(layer, b[i] * layer->second + offset);
        }
    } else {
        for (; DC_HAS_DSP && i + 4 <= size; i += 4) {
            dc_add_four(layer, a + i, b + i, output + i);
        }
        for (; i < size; ++i) {
            const int32_t sum = a[i] * layer->first + b[i] * layer->second;
            output[i] = dc_add_scaled(layer, sum + layer->offset);
        }
    }
}

/* output [outer][middle][inner]; it may be an input of the same size */
DC_INLINE void dc_add_int8(const dc_add *layer, const int8_t *first, const int8_t *second,
                           int8_t *output) {
    const dc_broadcast *loops = &layer->loops;
    for (int32_t i = 0; i < loops->outer; ++i) {
        const int8_t *a = first + i * loops->first_outer;
        const int8_t *b = second + i * loops->second_outer;
        for (int32_t j = 0; j < loops->middle; ++j) {
            dc_add_row(layer, a, b, output);
            a += loops->first_middle;
            b += loops->second_middle;
            output += loops->inner;
        }
    }
}

#endif
