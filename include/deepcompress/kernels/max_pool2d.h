/*
 * MaxPool2d, if it is not fused into a convolution before it.
 */
#ifndef DEEPCOMPRESS_KERNELS_MAX_POOL2D_H
#define DEEPCOMPRESS_KERNELS_MAX_POOL2D_H

#include <stdint.h>

#include "../requantize.h"

typedef struct {
    int32_t channels, in_height, in_width, out_height, out_width;
    int32_t kernel_height, kernel_width, stride_height, stride_width;
    int32_t dilation_height, dilation_width, pad_top, pad_left;
    int32_t minimum, maximum; /* of the activation function after it */
} dc_max_pool2d;

/* The first of the positions `at`, `at` + step, ... that is not before the input. */
DC_INLINE int32_t dc_max_pool2d_first(int32_t at, int32_t step) {
    return at >= 0 ? at : at + (step - 1 - at) / step * step;
}

/* Maximum of the part of a window inside the input; its first row and column may be outside. */
DC_INLINE int32_t dc_max_pool2d_window(const dc_max_pool2d *layer, const int8_t *plane, int32_t row,
                                       int32_t column) {
    const int32_t rows = layer->kernel_height * layer->dilation_height;
    const int32_t columns = layer->kernel_width * layer->dilation_width;
    const int32_t last_row = dc_minimum(row + rows, layer->in_height);
    const int32_t last_column = dc_minimum(column + columns, layer->in_width);
    const int32_t first_column = dc_max_pool2d_first(column, layer->dilation_width);
    int32_t greatest = -128;
    int32_t y = dc_max_pool2d_first(row, layer->dilation_height);
    for (; y < last_row; y += layer->dilation_height) {
        for (int32_t x = first_column; x < last_column; x += layer->dilation_width) {
            greatest = dc_maximum(greatest, plane[y * layer->in_width + x]);
        }
    }
    return greatest;
}

/* input [channels][in_height][in_width] -> output [channels][out_height][out_width] */
DC_INLINE void dc_max_pool2d_int8(const dc_max_pool2d *layer, const int8_t *input, int8_t *output) {
    for (int32_t channel = 0; channel < layer->channels; ++channel) {
        for (int32_t y = 0; y < layer->out_height; ++y) {
            for (int32_t x = 0; x < layer->out_width; ++x) {
                const int32_t value =
                    dc_max_pool2d_window(layer, input, y * layer->stride_height - layer->pad_top,
                                         x * layer->stride_width - layer->pad_left);
                *output++ = (int8_t)dc_clamp(value, layer->minimum, layer->maximum);
            }
        }
        input += layer->in_height * layer->in_width;
    }
}

#endif
