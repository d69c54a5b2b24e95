/*
 * Conv2d, dense and delta-encoded, with requantization, activation and max-pooling fused on the
 * accumulators: the convolution's own output never exists in memory.
 *
 *   output[o][y][x] = requantize(max over the pooling window of
 *                                bias[o] + sum over i, ky, kx of weight[o][i][ky][kx] *
 *                                input[i][y * stride - pad + ky * dilation][...])
 *
 * A position outside the input reads as its zero point. Four neighbouring results are accumulated
 * at a time, so that a weight is fetched once for four products: the 2x2 pooling window, or four
 * columns of a row where there is no pooling.
 *
 * A delta-encoded output channel is first decoded to a list of entries (offset of the input from
 * the window's first, weight), which then serves all positions.
 *
 * Accumulators fit 32 bits: the compiler refuses a layer where |bias| + 128 * sum |weight| does
 * not.
 */
#ifndef DEEPCOMPRESS_KERNELS_CONV2D_H
#define DEEPCOMPRESS_KERNELS_CONV2D_H

#include <stdint.h>

#include "../encodings/delta.h"
#include "../requantize.h"
#include "../weights.h"

typedef struct {
    int32_t in_channels, in_height, in_width;    /* in_channels of one group */
    int32_t out_channels, out_height, out_width; /* after pooling */
    int32_t groups;
    int32_t kernel_height, kernel_width;
    int32_t stride_height, stride_width;
    int32_t dilation_height, dilation_width;
    int32_t pad_top, pad_left;
    int32_t padded;    /* whether any window reaches outside */
    int32_t pad_value; /* zero point of the input */
    int32_t pooled;    /* whether the next four mean anything */
    int32_t pool_height, pool_width;
    int32_t pool_stride_height, pool_stride_width;
    dc_requantize requantize;
} dc_conv2d;

/*
 * A decoded weight: int8 value in the low byte, above it the offset of its input from the window's
 * first one, (channel * in_height + ky * dilation) * in_width + kx * dilation, below 2^23.
 */
typedef int32_t dc_entry;

/* The weights of one output channel: `dense` [in_channels][kernel_height][kernel_width], or NULL
 * and `count` entries. Which of the two is a constant to the compiler. */
typedef struct {
    const int8_t *dense;
    const dc_entry *entries;
    int32_t count;
} dc_conv2d_channel;

typedef struct {
    int32_t sum[4];
} dc_quad;

DC_INLINE int32_t dc_conv2d_offset(const dc_conv2d *layer, int32_t channel, int32_t ky,
                                   int32_t kx) {
    return (channel * layer->in_height + ky * layer->dilation_height) * layer->in_width +
           kx * layer->dilation_width;
}

/* Decodes the output channel at `*stream`, which moves on to the next. Returns how many entries. */
DC_INLINE int32_t dc_conv2d_decode(const dc_conv2d *layer, const uint8_t **stream,
                                   dc_entry *entries) {
    const int32_t count = dc_delta_count(stream);
    const uint8_t *pair = *stream;
    int32_t channel = 0, ky = 0, kx = -1;
    for (int32_t i = 0; i < count; ++i, pair += 2) {
        kx += pair[0] + 1;
        while (kx >= layer->kernel_width) {
            kx -= layer->kernel_width;
            if (++ky == layer->kernel_height) {
                ky = 0;
                ++channel;
            }
        }
        entries[i] = (dc_conv2d_offset(layer, channel, ky, kx) * 256) | pair[1];
    }
    *stream = pair;
    return count;
}

/* Adds to four accumulators whose windows all lie inside the input and begin at x[0], x[at1] ... */
DC_INLINE void dc_conv2d_quad(const dc_conv2d *layer, const dc_conv2d_channel *weights,
                              const int8_t *x, int32_t at1, int32_t at2, int32_t at3,
                              dc_quad *quad) {
    int32_t sum0 = quad->sum[0], sum1 = quad->sum[1], sum2 = quad->sum[2], sum3 = quad->sum[3];
    if (weights->dense) {
        const int8_t *weight = weights->dense;
        for (int32_t channel = 0; channel < layer->in_channels; ++channel) {
            for (int32_t ky = 0; ky < layer->kernel_height; ++ky) {
                const int8_t *row = x + dc_conv2d_offset(layer, channel, ky, 0);
                for (int32_t kx = 0; kx < layer->kernel_width; ++kx) {
                    const int32_t value = *weight++;
                    sum0 += value * row[0];
                    sum1 += value * row[at1];
                    sum2 += value * row[at2];
                    sum3 += value * row[at3];
                    row += layer->dilation_width;
                }
            }
        }
    } else {
        const dc_entry *entry = weights->entries;
        for (const dc_entry *end = entry + weights->count; entry < end; ++entry) {
            const int8_t *at = x + (*entry >> 8);
            const int32_t value = (int8_t)*entry;
            sum0 += value * at[0];
            sum1 += value * at[at1];
            sum2 += value * at[at2];
            sum3 += value * at[at3];
        }
    }
    quad->sum[0] = sum0;
    quad->sum[1] = sum1;
    quad->sum[2] = sum2;
    quad->sum[3] = sum3;
}

/* Input at a row and column of a plane, which may lie outside. */
DC_INLINE int32_t dc_conv2d_padded(const dc_conv2d *layer, const int8_t *plane, int32_t row,
                                   int32_t column) {
    const int inside = !layer->padded || (row >= 0 && row < layer->in_height && column >= 0 &&
                                          column < layer->in_width);
    return inside ? plane[row * layer->in_width + column] : layer->pad_value;
}

/*
 * One accumulator whose window may reach outside the input: its first row and column are given.
 * An entry's offset says its position only where a window is no larger than the input, and the
 * compiler stores other layers dense.
 */
DC_INLINE int32_t dc_conv2d_single(const dc_conv2d *layer, const dc_conv2d_channel *weights,
                                   const int8_t *input, int32_t row, int32_t column, int32_t sum) {
    const int32_t plane = layer->in_height * layer->in_width;
    if (weights->dense) {
        const int8_t *weight = weights->dense;
        for (int32_t channel = 0; channel < layer->in_channels; ++channel) {
            for (int32_t ky = 0; ky < layer->kernel_height; ++ky) {
                for (int32_t kx = 0; kx < layer->kernel_width; ++kx) {
                    sum += *weight++ * dc_conv2d_padded(layer, input + channel * plane,
                                                        row + ky * layer->dilation_height,
                                                        column + kx * layer->dilation_width);
                }
            }
        }
        return sum;
    }
    for (int32_t i = 0; i < weights->count; ++i) {
        const int32_t offset = weights->entries[i] >> 8;
        const int32_t within = layer->padded ? offset % plane : offset;
        const int32_t down = layer->padded ? within / layer->in_width : 0;
        sum += (int8_t)weights->entries[i] *
               dc_conv2d_padded(layer, input + (offset - within), row + down,
                                column + (within - down * layer->in_width));
    }
    return sum;
}

/*
 * The four accumulators of convolution outputs (y, x), (y + dy1, x + dx1) ...: together where all
 * windows lie inside the input, else one by one.
 */
DC_INLINE dc_quad dc_conv2d_four(const dc_conv2d *layer, const dc_conv2d_channel *weights,
                                 const int8_t *input, int32_t bias, int32_t y, int32_t x,
                                 int32_t columns) {
    const int32_t row = y * layer->stride_height - layer->pad_top;
    const int32_t column = x * layer->stride_width - layer->pad_left;
    const int32_t below = (4 / columns - 1) * layer->stride_height;
    const int32_t beside = (columns - 1) * layer->stride_width;
    const int32_t height = (layer->kernel_height - 1) * layer->dilation_height + 1 + below;
    const int32_t width = (layer->kernel_width - 1) * layer->dilation_width + 1 + beside;
    dc_quad quad = {{bias, bias, bias, bias}};
    if (!layer->padded || (row >= 0 && row + height <= layer->in_height && column >= 0 &&
                           column + width <= layer->in_width)) {
        const int32_t next = layer->stride_width;
        const int32_t third = columns == 2 ? layer->stride_height * layer->in_width : 2 * next;
        dc_conv2d_quad(layer, weights, input + row * layer->in_width + column, next, third,
                       third + next, &quad);
        return quad;
    }
    for (int32_t i = 0; i < 4; ++i) {
        quad.sum[i] =
            dc_conv2d_single(layer, weights, input, row + i / columns * layer->stride_height,
                             column + i % columns * layer->stride_width, bias);
    }
    return quad;
}

/* The accumulator of one convolution output. */
DC_INLINE int32_t dc_conv2d_one(const dc_conv2d *layer, const dc_conv2d_channel *weights,
                                const int8_t *input, int32_t bias, int32_t y, int32_t x) {
    return dc_conv2d_single(layer, weights, input, y * layer->stride_height - layer->pad_top,
                            x * layer->stride_width - layer->pad_left, bias);
}

/* One output channel without pooling: rows of four columns at a time, and what is left over. */
DC_INLINE int8_t *dc_conv2d_plane(const dc_conv2d *layer, const dc_conv2d_channel *weights,
                                  const int8_t *input, int32_t bias, int32_t multiplier,
                                  int8_t *output) {
    for (int32_t y = 0; y < layer->out_height; ++y) {
        int32_t x = 0;
        for (; x + 4 <= layer->out_width; x += 4) {
            const dc_quad quad = dc_conv2d_four(layer, weights, input, bias, y, x, 4);
            for (int32_t i = 0; i < 4; ++i) {
                *output++ = dc_requantize_int8(quad.sum[i], multiplier, &layer->requantize);
            }
        }
        for (; x < layer->out_width; ++x) {
            const int32_t sum = dc_conv2d_one(layer, weights, input, bias, y, x);
            *output++ = dc_requantize_int8(sum, multiplier, &layer->requantize);
        }
    }
    return output;
}

DC_INLINE int32_t dc_maximum(int32_t a, int32_t b) {
    return a > b ? a : b;
}

/* The greatest accumulator of the pooling window at (y, x) of the pooled output. */
DC_INLINE int32_t dc_conv2d_window(const dc_conv2d *layer, const dc_conv2d_channel *weights,
                                   const int8_t *input, int32_t bias, int32_t y, int32_t x) {
    const int32_t row = y * layer->pool_stride_height, column = x * layer->pool_stride_width;
    if (layer->pool_height == 2 && layer->pool_width == 2) {
        const dc_quad quad = dc_conv2d_four(layer, weights, input, bias, row, column, 2);
        return dc_maximum(dc_maximum(quad.sum[0], quad.sum[1]),
                          dc_maximum(quad.sum[2], quad.sum[3]));
    }
    int32_t greatest = INT32_MIN;
    for (int32_t i = 0; i < layer->pool_height; ++i) {
        for (int32_t j = 0; j < layer->pool_width; ++j) {
            greatest = dc_maximum(greatest,
                                  dc_conv2d_one(layer, weights, input, bias, row + i, column + j));
        }
    }
    return greatest;
}

/* One output channel with pooling. */
DC_INLINE int8_t *dc_conv2d_pooled_plane(const dc_conv2d *layer, const dc_conv2d_channel *weights,
                                         const int8_t *input, int32_t bias, int32_t multiplier,
                                         int8_t *output) {
    for (int32_t y = 0; y < layer->out_height; ++y) {
        for (int32_t x = 0; x < layer->out_width; ++x) {
            const int32_t sum = dc_conv2d_window(layer, weights, input, bias, y, x);
            *output++ = dc_requantize_int8(sum, multiplier, &layer->requantize);
        }
    }
    return output;
}

/* One output channel, and where the next one goes. */
DC_INLINE int8_t *dc_conv2d_channel_output(const dc_conv2d *layer, const dc_weights *weights,
                                           const dc_conv2d_channel *channel_weights,
                                           int32_t channel, const int8_t *input, int8_t *output) {
    const int32_t group = channel / (layer->out_channels / layer->groups);
    const int8_t *x = input + group * layer->in_channels * layer->in_height * layer->in_width;
    const int32_t bias = weights->bias[channel], multiplier = weights->multiplier[channel];
    if (!layer->pooled) {
        return dc_conv2d_plane(layer, channel_weights, x, bias, multiplier, output);
    }
    return dc_conv2d_pooled_plane(layer, channel_weights, x, bias, multiplier, output);
}

/*
 * weights->data: int8_t [out_channels][in_channels of a group][kernel_height][kernel_width]
 * input [channels][in_height][in_width] -> output [out_channels][out_height][out_width]
 */
DC_INLINE void dc_conv2d_dense(const dc_conv2d *layer, const dc_weights *weights,
                               const int8_t *input, int8_t *output) {
    const int32_t size = layer->in_channels * layer->kernel_height * layer->kernel_width;
    dc_conv2d_channel row = {(const int8_t *)weights->data, (const dc_entry *)0, 0};
    for (int32_t channel = 0; channel < layer->out_channels; ++channel, row.dense += size) {
        output = dc_conv2d_channel_output(layer, weights, &row, channel, input, output);
    }
}

/*
 * weights->data: the stream of encodings/delta.h
 * scratch: room for the entries of the output channel that has the most
 */
DC_INLINE void dc_conv2d_delta(const dc_conv2d *layer, const dc_weights *weights,
                               const int8_t *input, int8_t *output, dc_entry *scratch) {
    const uint8_t *stream = (const uint8_t *)weights->data;
    for (int32_t channel = 0; channel < layer->out_channels; ++channel) {
        const dc_conv2d_channel row = {(const int8_t *)0, scratch,
                                       dc_conv2d_decode(layer, &stream, scratch)};
        output = dc_conv2d_channel_output(layer, weights, &row, channel, input, output);
    }
}

#endif
