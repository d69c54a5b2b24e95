/*
 * AdaptiveAvgPool2d and AdaptiveMaxPool2d to sizes that do not divide the input's. Two divisions
 * per output find its columns, and two per row of outputs find its rows.
 */
#ifndef DEEPCOMPRESS_KERNELS_ADAPTIVE_POOL2D_H
#define DEEPCOMPRESS_KERNELS_ADAPTIVE_POOL2D_H

#include <stdint.h>

#include "../requantize.h"
#include "avg_pool2d.h"

typedef struct {
    int32_t channels, in_height, in_width, out_height, out_width;
    int32_t is_maximum;
    int32_t minimum, maximum;  /* of the activation function after a maximum */
    int32_t input_zero;        /* this and the rest for a mean, as in avg_pool2d.h */
    const int32_t *multiplier; /* [divisors], the first one for `least` */
    int32_t least;
    dc_requantize requantize;
} dc_adaptive_pool2d;

DC_INLINE dc_span dc_adaptive_pool2d_span(int32_t at, int32_t size, int32_t count) {
    const int32_t first = at * size / count, last = ((at + 1) * size + count - 1) / count;
    const dc_span span = {first, last, last - first};
    return span;
}

DC_INLINE int32_t dc_pool_maximum(const int8_t *plane, int32_t width, dc_span rows,
                                  dc_span columns) {
    int32_t greatest = -128;
    for (int32_t y = rows.first; y < rows.last; ++y) {
        for (int32_t x = columns.first; x < columns.last; ++x) {
            greatest = dc_maximum(greatest, plane[y * width + x]);
        }
    }
    return greatest;
}

/* input [channels][in_height][in_width] -> output [channels][out_height][out_width] */
DC_INLINE void dc_adaptive_pool2d_int8(const dc_adaptive_pool2d *layer, const int8_t *input,
                                       int8_t *output) {
    for (int32_t channel = 0; channel < layer->channels; ++channel) {
        for (int32_t y = 0; y < layer->out_height; ++y) {
            const dc_span rows = dc_adaptive_pool2d_span(y, layer->in_height, layer->out_height);
            for (int32_t x = 0; x < layer->out_width; ++x) {
                const dc_span columns =
                    dc_adaptive_pool2d_span(x, layer->in_width, layer->out_width);
                if (layer->is_maximum) {
                    const int32_t value = dc_pool_maximum(input, layer->in_width, rows, columns);
                    *output++ = (int8_t)dc_clamp(value, layer->minimum, layer->maximum);
                } else {
                    const int32_t sum =
                        dc_pool_sum(input, layer->in_width, rows, columns, layer->input_zero);
                    const int32_t at = rows.count * columns.count - layer->least;
                    *output++ = dc_requantize_int8(sum, layer->multiplier[at], &layer->requantize);
                }
            }
        }
        input += layer->in_height * layer->in_width;
    }
}

#endif
