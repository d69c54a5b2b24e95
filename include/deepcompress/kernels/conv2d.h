/*
 * Conv2d, dense and sparse, with requantization, activation and max-pooling fused on the
 * accumulators: the convolution's own output never exists in memory.
 *
 *   output[o][y][x] = requantize(max over the pooling window of
 *                                bias[o] + sum over i, ky, kx of weight[o][i][ky][kx] *
 *                                input[i][y * stride - pad + ky * dilation][...])
 *
 * A padded layer first copies its input to scratch with the zero point around it, so that no window
 * reaches outside and all positions run the same loop. Four neighbouring results are accumulated
 * at a time, so that a weight is fetched once for four products: the 2x2 pooling window, or four
 * columns of a row where there is no pooling.
 *
 * A sparse output channel is first decoded to a list of entries (offset of the input from
 * the window's first, weight), which then serves all positions. The sum of its weights completes a
 * bias that has the input's zero point not folded in: bias - zero_point * sum of weight.
 *
 * Accumulators fit 32 bits: the compiler refuses a layer where |bias| + 128 * sum |weight| does
 * not.
 */
#ifndef DEEPCOMPRESS_KERNELS_CONV2D_H
#define DEEPCOMPRESS_KERNELS_CONV2D_H

#include <stdint.h>
#include <string.h>

#include "../encodings/sparse.h"
#include "../requantize.h"

typedef struct {
    int32_t in_channels, in_height, in_width;    /* in_channels of one group; padding included */
    int32_t out_channels, out_height, out_width; /* after pooling */
    int32_t groups;
    int32_t kernel_height, kernel_width;
    int32_t stride_height, stride_width;
    int32_t dilation_height, dilation_width;
    int32_t padded; /* whether any of the next four is above 0 */
    int32_t pad_top, pad_left, pad_bottom, pad_right;
    int32_t pad_value; /* zero point of the input */
    int32_t pooled;    /* whether the next four mean anything */
    int32_t pool_height, pool_width;
    int32_t pool_stride_height, pool_stride_width;
    int32_t
        entries; /* 4-byte words of scratch before the padded input: those of the decoded channel */
    dc_requantize requantize;
} dc_conv2d;

/*
 * A decoded weight: int8 value in the low byte, above it the offset of its input from the window's
 * first one, (channel * in_height + ky * dilation) * in_width + kx * dilation, below 2^23.
 */
typedef int32_t dc_entry;

/* The weights of one output channel: `dense` [in_channels][kernel_height][kernel_width], or NULL
 * and `count` entries, whose weights add up to `total`. Which of the two is a constant to the
 * compiler. */
typedef struct {
    const int8_t *dense;
    const dc_entry *entries;
    int32_t count;
    int32_t total;
} dc_conv2d_channel;

typedef struct {
    int32_t sum[4];
} dc_quad;

DC_INLINE int32_t dc_conv2d_offset(const dc_conv2d *layer, int32_t channel, int32_t ky,
                                   int32_t kx) {
    return (channel * layer->in_height + ky * layer->dilation_height) * layer->in_width +
           kx * layer->dilation_width;
}

/* Decodes the next output channel of the reader. */
DC_INLINE dc_conv2d_channel dc_conv2d_decode(const dc_conv2d *layer, dc_encoding encoding,
                                             dc_reader *reader, dc_entry *entries) {
    const int32_t columns = layer->in_channels * layer->kernel_height * layer->kernel_width;
    dc_entry *entry = entries;
    dc_weight weight;
    int32_t channel = 0, ky = 0, kx = -1, total = 0;
    dc_sparse_channel(encoding, reader, columns);
    while (dc_sparse_next(encoding, reader, &weight)) {
        kx += weight.gap + 1;
        while (kx >= layer->kernel_width) {
            kx -= layer->kernel_width;
            if (++ky == layer->kernel_height) {
                ky = 0;
                ++channel;
            }
        }
        if (weight.value != 0) {
            *entry++ = (dc_conv2d_offset(layer, channel, ky, kx) * 256) | (uint8_t)weight.value;
            total += weight.value;
        }
    }
    const dc_conv2d_channel decoded = {(const int8_t *)0, entries, (int32_t)(entry - entries),
                                       total};
    return decoded;
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

/* Adds one accumulator whose window begins at x[0]. */
DC_INLINE int32_t dc_conv2d_single(const dc_conv2d *layer, const dc_conv2d_channel *weights,
                                   const int8_t *x, int32_t sum) {
    if (weights->dense) {
        const int8_t *weight = weights->dense;
        for (int32_t channel = 0; channel < layer->in_channels; ++channel) {
            for (int32_t ky = 0; ky < layer->kernel_height; ++ky) {
                const int8_t *row = x + dc_conv2d_offset(layer, channel, ky, 0);
                for (int32_t kx = 0; kx < layer->kernel_width; ++kx) {
                    sum += *weight++ * row[kx * layer->dilation_width];
                }
            }
        }
        return sum;
    }
    for (int32_t i = 0; i < weights->count; ++i) {
        sum += (int8_t)weights->entries[i] * x[weights->entries[i] >> 8];
    }
    return sum;
}

/* The first input of the window of convolution output (y, x). */
DC_INLINE const int8_t *dc_conv2d_at(const dc_conv2d *layer, const int8_t *input, int32_t y,
                                     int32_t x) {
    return input + y * layer->stride_height * layer->in_width + x * layer->stride_width;
}

/* One output channel without pooling: rows of four columns at a time, and what is left over. */
DC_INLINE int8_t *dc_conv2d_plane(const dc_conv2d *layer, const dc_conv2d_channel *weights,
                                  const int8_t *input, int32_t bias, int32_t multiplier,
                                  int8_t *output) {
    const int32_t next = layer->stride_width;
    for (int32_t y = 0; y < layer->out_height; ++y) {
        const int8_t *at = dc_conv2d_at(layer, input, y, 0);
        int32_t x = 0;
        for (; x + 4 <= layer->out_width; x += 4, at += 4 * next) {
            dc_quad quad = {{bias, bias, bias, bias}};
            dc_conv2d_quad(layer, weights, at, next, 2 * next, 3 * next, &quad);
            for (int32_t i = 0; i < 4; ++i) {
                *output++ = dc_requantize_int8(quad.sum[i], multiplier, &layer->requantize);
            }
        }
        for (; x < layer->out_width; ++x, at += next) {
            const int32_t sum = dc_conv2d_single(layer, weights, at, bias);
            *output++ = dc_requantize_int8(sum, multiplier, &layer->requantize);
        }
    }
    return output;
}

/* The greatest accumulator of the pooling window at (y, x) of the pooled output. */
DC_INLINE int32_t dc_conv2d_window(const dc_conv2d *layer, const dc_conv2d_channel *weights,
                                   const int8_t *input, int32_t bias, int32_t y, int32_t x) {
    const int32_t row = y * layer->pool_stride_height, column = x * layer->pool_stride_width;
    if (layer->pool_height == 2 && layer->pool_width == 2) {
        const int32_t beside = layer->stride_width, below = layer->stride_height * layer->in_width;
        dc_quad quad = {{bias, bias, bias, bias}};
        dc_conv2d_quad(layer, weights, dc_conv2d_at(layer, input, row, column), beside, below,
                       below + beside, &quad);
        return dc_maximum(dc_maximum(quad.sum[0], quad.sum[1]),
                          dc_maximum(quad.sum[2], quad.sum[3]));
    }
    int32_t greatest = INT32_MIN;
    for (int32_t i = 0; i < layer->pool_height; ++i) {
        for (int32_t j = 0; j < layer->pool_width; ++j) {
            const int8_t *at = dc_conv2d_at(layer, input, row + i, column + j);
            greatest = dc_maximum(greatest, dc_conv2d_single(layer, weights, at, bias));
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
    const int32_t bias =
        dc_constant(&weights->bias, channel) - weights->zero_point * channel_weights->total;
    const int32_t multiplier = dc_constant(&weights->multiplier, channel);
    if (!layer->pooled) {
        return dc_conv2d_plane(layer, channel_weights, x, bias, multiplier, output);
    }
    return dc_conv2d_pooled_plane(layer, channel_weights, x, bias, multiplier, output);
}

/* The input of a padded layer, copied to scratch with its zero point around it. */
DC_INLINE const int8_t *dc_conv2d_pad(const dc_conv2d *layer, const int8_t *input,
                                      int32_t *scratch) {
    if (!layer->padded) {
        return input;
    }
    int8_t *const padded = (int8_t *)(scratch + layer->entries);
    const int32_t channels = layer->in_channels * layer->groups;
    const int32_t height = layer->in_height - layer->pad_top - layer->pad_bottom;
    const int32_t width = layer->in_width - layer->pad_left - layer->pad_right;
    int8_t *plane = padded;
    memset(padded, layer->pad_value, (size_t)(channels * layer->in_height * layer->in_width));
    for (int32_t channel = 0; channel < channels; ++channel) {
        int8_t *row = plane + layer->pad_top * layer->in_width + layer->pad_left;
        for (int32_t y = 0; y < height; ++y, row += layer->in_width, input += width) {
            memcpy(row, input, (size_t)width);
        }
        plane += layer->in_height * layer->in_width;
    }
    return padded;
}

/* weights->values: int8_t [out_channels][in_channels of a group][kernel_height][kernel_width] */
DC_INLINE void dc_conv2d_dense(const dc_conv2d *layer, const dc_weights *weights,
                               const int8_t *padded, int8_t *output) {
    const int32_t size = layer->in_channels * layer->kernel_height * layer->kernel_width;
    dc_conv2d_channel row = {(const int8_t *)weights->values, (const dc_entry *)0, 0, 0};
    for (int32_t channel = 0; channel < layer->out_channels; ++channel, row.dense += size) {
        output = dc_conv2d_channel_output(layer, weights, &row, channel, padded, output);
    }
}

DC_INLINE void dc_conv2d_sparse(const dc_conv2d *layer, const dc_weights *weights,
                                const int8_t *padded, int8_t *output, dc_entry *entries) {
    dc_reader reader;
    dc_sparse_begin(&reader, weights);
    for (int32_t channel = 0; channel < layer->out_channels; ++channel) {
        const dc_conv2d_channel row = dc_conv2d_decode(layer, weights->encoding, &reader, entries);
        output = dc_conv2d_channel_output(layer, weights, &row, channel, padded, output);
    }
}

/*
 * input [channels][height][width] -> output [out_channels][out_height][out_width]
 * scratch: layer->entries words, as many as the output channel with the most weights has, and
 * behind them room for the padded input; NULL where neither is needed
 */
DC_INLINE void dc_conv2d_int8(const dc_conv2d *layer, const dc_weights *weights,
                              const int8_t *input, int8_t *output, int32_t *scratch) {
    const int8_t *const padded = dc_conv2d_pad(layer, input, scratch);
    if (weights->encoding == DC_DENSE) {
        dc_conv2d_dense(layer, weights, padded, output);
    } else {
        dc_conv2d_sparse(layer, weights, padded, output, scratch);
    }
}

#endif
