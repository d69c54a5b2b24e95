/*
 * Linear: output[o] = requantize(bias[o] + sum over k of weight[o][k] * input[k]).
 *
 * Accumulators fit 32 bits: the compiler refuses a layer where |bias| + 128 * sum |weight| does
 * not.
 */
#ifndef DEEPCOMPRESS_KERNELS_LINEAR_H
#define DEEPCOMPRESS_KERNELS_LINEAR_H

#include <stdint.h>

#include "../encodings/delta.h"
#include "../requantize.h"
#include "../weights.h"

typedef struct {
    int32_t in_features;
    int32_t out_features;
    dc_requantize requantize;
} dc_linear;

/* weights->data: int8_t [out_features][in_features]. */
DC_INLINE void dc_linear_dense(const dc_linear *layer, const dc_weights *weights,
                               const int8_t *input, int8_t *output) {
    const int8_t *weight = (const int8_t *)weights->data;
    for (int32_t o = 0; o < layer->out_features; ++o) {
        int32_t sum = weights->bias[o];
        for (int32_t k = 0; k < layer->in_features; ++k) {
            sum += *weight++ * input[k];
        }
        output[o] = dc_requantize_int8(sum, weights->multiplier[o], &layer->requantize);
    }
}

/* weights->data: the stream of encodings/delta.h. */
DC_INLINE void dc_linear_delta(const dc_linear *layer, const dc_weights *weights,
                               const int8_t *input, int8_t *output) {
    const uint8_t *stream = (const uint8_t *)weights->data;
    for (int32_t o = 0; o < layer->out_features; ++o) {
        const int8_t *x = input;
        int32_t sum = weights->bias[o];
        for (int32_t left = dc_delta_count(&stream); left > 0; --left) {
            x += *stream++;
            sum += (int8_t)*stream++ * *x++;
        }
        output[o] = dc_requantize_int8(sum, weights->multiplier[o], &layer->requantize);
    }
}

#endif
