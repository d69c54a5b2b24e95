/*
 * Linear on each row of [..., features]: the kernel of one vector, again and again.
 */
#ifndef DEEPCOMPRESS_KERNELS_LINEAR_ROWS_H
#define DEEPCOMPRESS_KERNELS_LINEAR_ROWS_H

#include "linear.h"

typedef struct {
    int32_t rows, in_features, out_features;
    dc_requantize requantize;
} dc_linear_rows;

/* input [rows][in_features] -> output [rows][out_features] */
DC_INLINE void dc_linear_rows_int8(const dc_linear_rows *layer, const dc_weights *weights,
                                   const int8_t *input, int8_t *output) {
    const dc_linear row = {.in_features = layer->in_features,
                           .out_features = layer->out_features,
                           .requantize = layer->requantize};
    for (int32_t i = 0; i < layer->rows; ++i) {
        dc_linear_int8(&row, weights, input, output);
        input += layer->in_features;
        output += layer->out_features;
    }
}

#endif
