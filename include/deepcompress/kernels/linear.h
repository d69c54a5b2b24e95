/*
 * Linear: output[o] = requantize(bias[o] + sum over k of weight[o][k] * (input[k] - zero_point)),
 * where the zero point is 0 if the bias has it folded in.
 *
 * Accumulators fit 32 bits: the compiler refuses a layer where |bias| + 128 * sum |weight| does
 * not, and folds the zero point where taking it off here would not.
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
        int32_t sum = dc_constant(&weights->bias, o);
        for (int32_t k = 0; k < layer->in_features; ++k) {
            sum += *weight++ * input[k];
        }
        output[o] =
            dc_requantize_int8(sum, dc_constant(&weights->multiplier, o), &layer->requantize);
    }
}

/* Adds the products of the next output channel with x[columns] - zero_point to a sum. */
DC_INLINE int32_t dc_linear_dot(dc_encoding encoding, dc_reader *reader, int32_t columns,
                                const int8_t *x, int32_t zero_point, int32_t sum) {
    if (encoding == DC_BLOCK) {
        return dc_block_dot(reader, columns, x, sum);
    }
    if (DC_HAS_DSP && encoding == DC_DELTA && zero_point == 0) {
        return dc_delta_dot(reader, x, sum);
    }
    dc_weight weight;
    dc_sparse_channel(encoding, reader, columns);
    while (dc_sparse_next(encoding, reader, &weight)) {
        x += weight.gap;
        sum += weight.value * (*x++ - zero_point);
    }
    return sum;
}

DC_INLINE void dc_linear_sparse(const dc_linear *layer, const dc_weights *weights,
                                const int8_t *input, int8_t *output) {
    dc_reader reader;
    dc_sparse_begin(&reader, weights);
    for (int32_t o = 0; o < layer->out_features; ++o) {
        const int32_t sum = dc_linear_dot(weights->encoding, &reader, layer->in_features, input,
                                          weights->zero_point, dc_constant(&weights->bias, o));
        output[o] =
            dc_requantize_int8(sum, dc_constant(&weights->multiplier, o), &layer->requantize);
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
