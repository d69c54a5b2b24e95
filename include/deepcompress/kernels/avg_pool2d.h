/*
 * AvgPool2d: the sum of a window, whose divisor is in the requantize multiplier.
 *
 * A sum of n differences is below 255 n, so it fits 32 bits for every window below 2^23 values.
 */
#ifndef DEEPCOMPRESS_KERNELS_AVG_POOL2D_H
#define DEEPCOMPRESS_KERNELS_AVG_POOL2D_H

#include <stdint.h>

#include "../requantize.h"

typedef struct {
    int32_t channels, in_height, in_width, out_height, out_width;
    int32_t kernel_height, kernel_width, stride_height, stride_width;
    int32_t pad_top, pad_left; /* as much below and on the right */
    int32_t count_padding;     /* whether the divisor counts padded positions */
    int32_t divisor;           /* of all windows, or 0 */
    int32_t input_zero;
    const int32_t *multiplier; /* [divisors], the first one for `least` */
    int32_t least;
    dc_requantize requantize;
} dc_avg_pool2d;

/* The positions of a window along an axis: those inside the input, and how many count. */
typedef struct {
    int32_t first, last, count;
} dc_span;

DC_INLINE dc_span dc_avg_pool2d_span(const dc_avg_pool2d *layer, int32_t first, int32_t kernel,
                                     int32_t size, int32_t pad) {
    const int32_t last = dc_minimum(first + kernel, size + pad);
    dc_span span = {dc_maximum(first, 0), dc_minimum(last, size), last - first};
    if (!layer->count_padding) {
        span.count = span.last - span.first;
    }
    return span;
}

/* Sum of the values at rows and columns of a plane that is `width` wide, less the zero point. */
DC_INLINE int32_t dc_pool_sum(const int8_t *plane, int32_t width, dc_span rows, dc_span columns,
                              int32_t zero_point) {
    int32_t sum = -zero_point * (rows.last - rows.first) * (columns.last - columns.first);
    for (int32_t y = rows.first; y < rows.last; ++y) {
        const int8_t *row = plane + y * width;
        for (int32_t x = columns.first; x < columns.last; ++x) {
            sum += row[x];
        }
    }
    return sum;
}

/* input [channels][in_height][in_width] -> output [channels][out_height][out_width] */
DC_INLINE void dc_avg_pool2d_int8(const dc_avg_pool2d *layer, const int8_t *input, int8_t *output) {
    for (int32_t channel = 0; channel < layer->channels; ++channel) {
        for (int32_t y = 0; y < layer->out_height; ++y) {
            const dc_span rows =
                dc_avg_pool2d_span(layer, y * layer->stride_height - layer->pad_top,
                                   layer->kernel_height, layer->in_height, layer->pad_top);
            for (int32_t x = 0; x < layer->out_width; ++x) {
                const dc_span columns =
                    dc_avg_pool2d_span(layer, x * layer->stride_width - layer->pad_left,
                                       layer->kernel_width, layer->in_width, layer->pad_left);
                const int32_t divisor =
                    layer->divisor ? layer->divisor : rows.count * columns.count;
                const int32_t sum =
                    dc_pool_sum(input, layer->in_width, rows, columns, layer->input_zero);
                *output++ = dc_requantize_int8(sum, layer->multiplier[divisor - layer->least],
                                               &layer->requantize);
            }
        }
        input += layer->in_height * layer->in_width;
    }
}

#endif
