/*
 * Mean or sum over axes, such as global average pooling. What a sum is divided by is in the
 * multiplier. A sum of n differences is below 255 n, so it fits 32 bits for n below 2^23.
 */
#ifndef DEEPCOMPRESS_KERNELS_MEAN_H
#define DEEPCOMPRESS_KERNELS_MEAN_H

#include <stdint.h>

#include "../requantize.h"

typedef struct {
    int32_t outer, reduced, inner;
    int32_t input_zero, multiplier;
    dc_requantize requantize;
} dc_mean;

/* input [outer][reduced][inner] -> output [outer][inner] */
DC_INLINE void dc_mean_int8(const dc_mean *layer, const int8_t *input, int8_t *output) {
    for (int32_t i = 0; i < layer->outer; ++i) {
        for (int32_t k = 0; k < layer->inner; ++k) {
            const int8_t *x = input + k;
            int32_t sum = -layer->input_zero * layer->reduced;
            for (int32_t j = 0; j < layer->reduced; ++j, x += layer->inner) {
                sum += *x;
            }
            *output++ = dc_requantize_int8(sum, layer->multiplier, &layer->requantize);
        }
        input += layer->reduced * layer->inner;
    }
}

#endif
