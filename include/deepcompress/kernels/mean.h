/*
 * Mean or sum over axes, such as global average pooling. The multiplier includes the divisor of the
 * sum. A sum of n differences is below 255 n, so it fits 32 bits for n below 2^23.
 */
#ifndef DEEPCOMPRESS_KERNELS_MEAN_H
#define DEEPCOMPRESS_KERNELS_MEAN_H

#include <stdint.h>

#include "../cpu.h"
#include "../dsp.h"
#include "../requantize.h"

typedef struct {
    int32_t outer, reduced, inner;
    int32_t input_zero, multiplier;
    dc_requantize requantize;
} dc_mean;

/* The sum of every value at a distance of `step`. */
DC_INLINE int32_t dc_mean_sum(const int8_t *x, int32_t count, int32_t step, int32_t sum) {
    int32_t i = 0;
    for (; DC_HAS_DSP && step == 1 && i + 4 <= count; i += 4) {
        const uint32_t word = dc_load_word(x + i), ones = dc_pair(1, 1);
        sum = dc_smlad(dc_sxtb16(word), ones, dc_smlad(dc_sxtb16_ror8(word), ones, sum));
    }
    for (; i < count; ++i) {
        sum += x[i * step];
    }
    return sum;
}

/* input [outer][reduced][inner] -> output [outer][inner] */
DC_INLINE void dc_mean_int8(const dc_mean *layer, const int8_t *input, int8_t *output) {
    const int32_t less = -layer->input_zero * layer->reduced;
    for (int32_t i = 0; i < layer->outer; ++i) {
        for (int32_t k = 0; k < layer->inner; ++k) {
            const int32_t sum = dc_mean_sum(input + k, layer->reduced, layer->inner, less);
            *output++ = dc_requantize_int8(sum, layer->multiplier, &layer->requantize);
        }
        input += layer->reduced * layer->inner;
    }
}

#endif
