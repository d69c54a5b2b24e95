/*
 * Linear: output[o] = requantize(bias[o] + sum over k of weight[o][k] * input[k]).
 *
 * Accumulators fit 32 bits: the compiler refuses a layer where |bias| + 128 * sum |weight| does
 * not.
 */
#ifndef DEEPCOMPRESS_KERNELS_LINEAR_H
#define DEEPCOMPRESS_KERNELS_LINEAR_H

#include <stdint.h>

#include "../encodings/sparse.h"
#include "../requantize.h"

typedef struct {
    int32_t in_features;
    int32_t out_features;
    dc_requantize requantize;
} dc_linear;

/* weights->values: int8_t [out_features][in_features] */
DC_INLINE void dc_linear_dense(const dc_linear *layer, const dc_weights *weights,
                               const int8_t *input, int8_t *output) {
    const int8_t *weight = (const int8_t *)weights->values;
    for (int32_t o = 0; o < layer->out_features; ++o) {
        int32_t sum = weights->bias[o];
        for (int32_t k = 0; k < layer->in_features; ++k) {
            sum += *weight++ * input[k];
        }
        output[o] = dc_requantize_int8(sum, weights->multiplier[o], &layer->requantize);
    }
}

DC_INLINE void dc_linear_sparse(const dc_linear *layer, const dc_weights *weights,
                                const int8_t *input, int8_t *output) {
    dc_reader reader = dc_sparse_begin(weights);
    for (int32_t o = 0; o < layer->out_features; ++o) {
        const int8_t *x = input;
        int32_t sum = weights->bias[o];
        int32_t left = dc_sparse_channel(weights->encoding, &reader, layer->in_features);
        for (; left > 0; --left) {
            int32_t gap;
            const int32_t value = dc_sparse_next(weights->encoding, &reader, &gap);
            x += gap;
            sum += value * *x++;
        }
        output[o] = dc_requantize_int8(sum, weights->multiplier[o], &layer->requantize);
    }
}

/* input [in_features] -> output [out_features] */
DC_INLINE void dc_linear_int8(const dc_linear *layer, const dc_weights *weights,
                              const int8_t *input, int8_t *output) {
    if (weights->encoding == DC_DENSE) {
        dc_linear_dense(layer, weights, input, output);
    } else {
        dc_linear_sparse(layer, weights, input, output);
    }
}

#endif
