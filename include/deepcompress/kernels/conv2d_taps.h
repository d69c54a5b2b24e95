/*
 * A convolution weight by weight: each weight of an output channel meets its inputs of many
 * positions before the next one is looked at. So zeros cost nothing, whatever their pattern, and
 * depthwise convolutions, whose channels have few weights, run this way too.
 *
 * An output channel is first decoded to a list of taps (weight, and where its input lies), which
 * then serves all positions. The sum of its weights completes a bias that has the input's zero
 * point not folded in: bias - zero_point * sum of weight.
 *
 * Positions are taken eight at a time, two groups of four neighbours in a row: with pooling two
 * rows of four, so that two windows of 2x2 are complete; without, two rows or one, whichever leaves
 * less over. What is left over at an edge is computed together with positions that are done
 * already. Outputs of fewer positions, other pooling windows and strides above 2 are taken four by
 * four and one by one.
 *
 * Cycles on Cortex-M4, zero wait states: 21 a tap for eight positions, 23 if the stride is 2, and
 * about 70 for their biases, pooling and requantization. Scratch: a word for each tap of the
 * channel that has the most.
 */
#ifndef DEEPCOMPRESS_KERNELS_CONV2D_TAPS_H
#define DEEPCOMPRESS_KERNELS_CONV2D_TAPS_H

#include "../encodings/sparse.h"
#include "conv2d_channel.h"
#include "conv2d_taps_mve.h"

/* What a tap can step at most; taps of weight 0 bridge more. */
#define DC_LARGEST_STEP 65535

/* Sums of eight positions: of one group of four, then of the other. */
typedef struct {
    int32_t sum[8];
} dc_eight;

/* Decodes the next output channel of the reader. */
DC_INLINE dc_taps dc_conv2d_decode(const dc_conv2d *layer, dc_encoding encoding, dc_reader *reader,
                                   dc_tap *first) {
    const int32_t columns = layer->in_channels * layer->kernel_height * layer->kernel_width;
    const int32_t next_row =
        layer->in_width * layer->dilation_height - layer->kernel_width * layer->dilation_width;
    const int32_t next_channel =
        layer->in_width * (layer->in_height - layer->kernel_height * layer->dilation_height);
    dc_tap *tap = first;
    dc_weight weight;
    int32_t ky = 0, kx = -1, offset = -layer->dilation_width, before = 0, total = 0;
    dc_sparse_channel(encoding, reader, columns);
    while (dc_sparse_next(encoding, reader, &weight)) {
        kx += weight.gap + 1;
        offset += (weight.gap + 1) * layer->dilation_width;
        while (kx >= layer->kernel_width) {
            kx -= layer->kernel_width;
            offset += next_row;
            if (++ky == layer->kernel_height) {
                ky = 0;
                offset += next_channel;
            }
        }
        if (weight.value != 0) {
            if (layer->in_channels * layer->in_height * layer->in_width > DC_LARGEST_STEP) {
                for (; offset - before > DC_LARGEST_STEP; before += DC_LARGEST_STEP) {
                    *tap++ = (uint32_t)DC_LARGEST_STEP << 16;
                }
            }
            *tap++ = (uint32_t)(offset - before) << 16 | (uint16_t)weight.value;
            before = offset;
            total += weight.value;
        }
    }
    while (!DC_HAS_MVE && (tap == first || (tap - first) % 2 != 0)) {
        *tap++ = 0;
    }
    const dc_taps taps = {first, tap, total};
    return taps;
}

DC_INLINE int8_t dc_conv2d_requantize(const dc_conv2d_channel *channel, int32_t sum) {
    return dc_requantize_int8(sum, channel->multiplier, &channel->layer->requantize);
}

DC_INLINE int32_t dc_largest_of_four(int32_t a, int32_t b, int32_t c, int32_t d) {
    return dc_maximum(dc_maximum(a, b), dc_maximum(c, d));
}

/* --- four positions at a time, and one: for any CPU and any shape */

/* Adds the sums of the positions whose windows begin at x[0], x[at1], x[at2], x[at3], inputs whose
 * sign bits are flipped by `flip`. */
DC_INLINE void dc_conv2d_four(const dc_taps *taps, const int8_t *x, int32_t at1, int32_t at2,
                              int32_t at3, int32_t flip, int32_t *sum) {
    int32_t sum0 = sum[0], sum1 = sum[1], sum2 = sum[2], sum3 = sum[3];
    for (const dc_tap *tap = taps->first; tap < taps->end; ++tap) {
        const int32_t weight = dc_bottom(*tap);
        x += *tap >> 16;
        sum0 += weight * (x[0] ^ flip);
        sum1 += weight * (x[at1] ^ flip);
        sum2 += weight * (x[at2] ^ flip);
        sum3 += weight * (x[at3] ^ flip);
    }
    sum[0] = sum0;
    sum[1] = sum1;
    sum[2] = sum2;
    sum[3] = sum3;
}

DC_INLINE int32_t dc_conv2d_one(const dc_taps *taps, const int8_t *x, int32_t sum) {
    for (const dc_tap *tap = taps->first; tap < taps->end; ++tap) {
        x += *tap >> 16;
        sum += dc_bottom(*tap) * *x;
    }
    return sum;
}

DC_INLINE void dc_conv2d_plane(const dc_conv2d_channel *channel, int8_t *output) {
    const dc_conv2d *const layer = channel->layer;
    const int32_t next = layer->stride_width, bias = channel->bias;
    for (int32_t y = 0; y < layer->out_height; ++y) {
        const int8_t *at = dc_conv2d_window_at(layer, channel->input, y, 0);
        int32_t x = 0;
        for (; x + 4 <= layer->out_width; x += 4, at += 4 * next) {
            int32_t sum[4] = {bias, bias, bias, bias};
            dc_conv2d_four(&channel->taps, at, next, 2 * next, 3 * next, 0, sum);
            for (int32_t i = 0; i < 4; ++i) {
                *output++ = dc_conv2d_requantize(channel, sum[i]);
            }
        }
        for (; x < layer->out_width; ++x, at += next) {
            *output++ = dc_conv2d_requantize(channel, dc_conv2d_one(&channel->taps, at, bias));
        }
    }
}

/* The greatest sum of the pooling window at (y, x) of the pooled output. */
DC_INLINE int32_t dc_conv2d_pool(const dc_conv2d_channel *channel, int32_t y, int32_t x) {
    const dc_conv2d *const layer = channel->layer;
    const int32_t row = y * layer->pool_stride_height, column = x * layer->pool_stride_width;
    const int32_t bias = channel->bias;
    if (layer->pool_height == 2 && layer->pool_width == 2) {
        const int32_t beside = layer->stride_width, below = layer->stride_height * layer->in_width;
        int32_t sum[4] = {bias, bias, bias, bias};
        dc_conv2d_four(&channel->taps, dc_conv2d_window_at(layer, channel->input, row, column),
                       beside, below, below + beside, 0, sum);
        return dc_largest_of_four(sum[0], sum[1], sum[2], sum[3]);
    }
    int32_t greatest = INT32_MIN;
    for (int32_t i = 0; i < layer->pool_height; ++i) {
        for (int32_t j = 0; j < layer->pool_width; ++j) {
            const int8_t *at = dc_conv2d_window_at(layer, channel->input, row + i, column + j);
            greatest = dc_maximum(greatest, dc_conv2d_one(&channel->taps, at, bias));
        }
    }
    return greatest;
}

DC_INLINE void dc_conv2d_pooled_plane(const dc_conv2d_channel *channel, int8_t *output) {
    const dc_conv2d *const layer = channel->layer;
    for (int32_t y = 0; y < layer->out_height; ++y) {
        for (int32_t x = 0; x < layer->out_width; ++x) {
            *output++ = dc_conv2d_requantize(channel, dc_conv2d_pool(channel, y, x));
        }
    }
}

/* --- eight positions at a time, and sixteen: with the DSP extension */

/* Sums of four positions from x on and of four from x[next] on. */
DC_INLINE dc_eight dc_conv2d_eight(const dc_conv2d_channel *channel, const int8_t *x,
                                   int32_t next) {
    const dc_tap *tap = channel->taps.first, *const end = channel->taps.end;
    const int32_t bias = channel->bias;
    int32_t a0 = bias, a1 = bias, a2 = bias, a3 = bias, b0 = bias, b1 = bias, b2 = bias, b3 = bias;
    do {
        if (channel->layer->stride_width == 1) {
            dc_smla_eight(&tap, &x, next, &a0, &a1, &a2, &a3, &b0, &b1, &b2, &b3);
            dc_smla_eight(&tap, &x, next, &a0, &a1, &a2, &a3, &b0, &b1, &b2, &b3);
        } else {
            dc_smla_eight_by_two(&tap, &x, next, &a0, &a1, &a2, &a3, &b0, &b1, &b2, &b3);
            dc_smla_eight_by_two(&tap, &x, next, &a0, &a1, &a2, &a3, &b0, &b1, &b2, &b3);
        }
    } while (tap < end);
    const dc_eight eight = {{a0, a1, a2, a3, b0, b1, b2, b3}};
    return eight;
}

/* Four outputs, and four that lie `next` behind them; pooled, one for each two columns of both. */
DC_INLINE void dc_conv2d_store(const dc_conv2d_channel *channel, const dc_eight *eight,
                               int32_t next, int8_t *output) {
    const int32_t *const sum = eight->sum;
    if (channel->layer->pooled) {
        const int32_t left = dc_largest_of_four(sum[0], sum[1], sum[4], sum[5]);
        const int32_t right = dc_largest_of_four(sum[2], sum[3], sum[6], sum[7]);
        output[0] = dc_conv2d_requantize(channel, left);
        output[1] = dc_conv2d_requantize(channel, right);
        return;
    }
    for (int32_t i = 0; i < 4; ++i) {
        output[i] = dc_conv2d_requantize(channel, sum[i]);
        output[next + i] = dc_conv2d_requantize(channel, sum[4 + i]);
    }
}

/*
 * Sums of eight positions that fit int16, two in a word: bottom + top * 2^16, of which one
 * multiplication by a weight serves both. Inputs are unsigned, 128 above their value, and the sums
 * begin as much lower, at 2^15: so none ends below 0, and no bottom takes from its top.
 */
typedef struct {
    uint32_t a02, a13, b02, b13;
} dc_narrow_eight;

#define DC_NARROW_ZERO 0x8000

DC_INLINE uint32_t dc_conv2d_narrow_zero(const dc_taps *taps) {
    return (uint32_t)(DC_NARROW_ZERO - 128 * taps->total) * 0x10001U;
}

DC_INLINE dc_narrow_eight dc_conv2d_narrow_eight(const dc_taps *taps, const int8_t *x,
                                                 int32_t next) {
    const uint32_t zero = dc_conv2d_narrow_zero(taps);
    const dc_tap *tap = taps->first;
    uint32_t a02 = zero, a13 = zero, b02 = zero, b13 = zero;
    do {
        dc_mla_eight(&tap, &x, next, &a02, &a13, &b02, &b13);
        dc_mla_eight(&tap, &x, next, &a02, &a13, &b02, &b13);
    } while (tap < taps->end);
    const dc_narrow_eight eight = {a02, a13, b02, b13};
    return eight;
}

/* The same of eight positions from x on and of eight from x[next] on; `right` has the upper four of
 * both. */
DC_INLINE dc_narrow_eight dc_conv2d_narrow_sixteen(const dc_taps *taps, const int8_t *x,
                                                   int32_t next, dc_narrow_eight *right) {
    const uint32_t zero = dc_conv2d_narrow_zero(taps);
    const dc_tap *tap = taps->first;
    uint32_t a02 = zero, a13 = zero, a46 = zero, a57 = zero;
    uint32_t b02 = zero, b13 = zero, b46 = zero, b57 = zero;
    do {
        dc_mla_sixteen(&tap, &x, next, &a02, &a13, &a46, &a57, &b02, &b13, &b46, &b57);
        dc_mla_sixteen(&tap, &x, next, &a02, &a13, &a46, &a57, &b02, &b13, &b46, &b57);
    } while (tap < taps->end);
    const dc_narrow_eight left = {a02, a13, b02, b13};
    right->a02 = a46;
    right->a13 = a57;
    right->b02 = b46;
    right->b13 = b57;
    return left;
}

/* The outputs of the two sums in a word, the second of them `apart` behind the first. */
DC_INLINE void dc_conv2d_store_pair(const dc_conv2d_channel *channel, uint32_t pair, int32_t apart,
                                    int8_t *output) {
    const int32_t bias = channel->bias - DC_NARROW_ZERO;
    output[0] = dc_conv2d_requantize(channel, bias + (int32_t)(pair & 0xffff));
    output[apart] = dc_conv2d_requantize(channel, bias + (int32_t)(pair >> 16));
}

/* As dc_conv2d_store. */
DC_INLINE void dc_conv2d_store_narrow(const dc_conv2d_channel *channel,
                                      const dc_narrow_eight *eight, int32_t next, int8_t *output) {
    if (channel->layer->pooled) {
        const uint32_t largest = dc_larger_pair(dc_larger_pair(eight->a02, eight->a13),
                                                dc_larger_pair(eight->b02, eight->b13));
        dc_conv2d_store_pair(channel, largest, 1, output);
        return;
    }
    dc_conv2d_store_pair(channel, eight->a02, 2, output);
    dc_conv2d_store_pair(channel, eight->a13, 2, output + 1);
    dc_conv2d_store_pair(channel, eight->b02, 2, output + next);
    dc_conv2d_store_pair(channel, eight->b13, 2, output + next + 1);
}

/* Where the tile behind the one at x begins: the last one ends with the line. */
DC_INLINE int32_t dc_conv2d_next_tile(int32_t x, int32_t tile, int32_t line) {
    const int32_t last = line - tile;
    return line % tile == 0 || x >= last ? x + tile : dc_minimum(x + tile, last);
}

DC_INLINE void dc_conv2d_narrow_tile(const dc_conv2d_channel *channel, const int8_t *x,
                                     int32_t rows, int8_t *output) {
    const dc_conv2d *const layer = channel->layer;
    const int32_t next = rows == 1 ? 4 : layer->stride_height * layer->in_width;
    const dc_narrow_eight eight = dc_conv2d_narrow_eight(&channel->taps, x, next);
    dc_conv2d_store_narrow(channel, &eight, rows == 1 ? 4 : layer->out_width, output);
}

/* As dc_conv2d_tile_row, sixteen positions at a time, and eight at the end. */
DC_INLINE void dc_conv2d_narrow_tile_row(const dc_conv2d_channel *channel, const int8_t *line,
                                         int32_t rows, int32_t width, int8_t *output) {
    const dc_conv2d *const layer = channel->layer;
    const int32_t columns = 8 / rows, wide = 2 * columns, shrink = layer->pooled ? 2 : 1;
    const int32_t next = rows == 1 ? 8 : layer->stride_height * layer->in_width;
    const int32_t after = rows == 1 ? 8 : layer->out_width;
    const int32_t left_over = width % wide;
    const int8_t *x = line, *const end = line + width - left_over;
    for (; x < end; x += wide, output += wide / shrink) {
        dc_narrow_eight right;
        const dc_narrow_eight left = dc_conv2d_narrow_sixteen(&channel->taps, x, next, &right);
        dc_conv2d_store_narrow(channel, &left, after, output);
        dc_conv2d_store_narrow(channel, &right, after, output + 4 / shrink);
    }
    if (left_over > columns) {
        dc_conv2d_narrow_tile(channel, x, rows, output);
    }
    if (left_over > 0) {
        const int32_t last = left_over - columns;
        dc_conv2d_narrow_tile(channel, x + last, rows, output + last / shrink);
    }
}

/* One row of tiles, of `rows` rows of the convolution, `width` wide. */
DC_INLINE void dc_conv2d_tile_row(const dc_conv2d_channel *channel, const int8_t *line,
                                  int32_t rows, int32_t width, int8_t *output) {
    const dc_conv2d *const layer = channel->layer;
    const int32_t stride = layer->stride_width, columns = 8 / rows;
    const int32_t below = layer->stride_height * layer->in_width;
    const int32_t shrink = layer->pooled ? 2 : 1;
    if (dc_conv2d_is_narrow(layer)) {
        dc_conv2d_narrow_tile_row(channel, line, rows, width, output);
        return;
    }
    const int32_t next = rows == 1 ? 4 * stride : below;
    const int32_t after = rows == 1 ? 4 : layer->out_width;
    const int32_t left_over = width % columns;
    const int8_t *x = line, *const end = line + (width - left_over) * stride;
    for (; x < end; x += columns * stride, output += columns / shrink) {
        const dc_eight eight = dc_conv2d_eight(channel, x, next);
        dc_conv2d_store(channel, &eight, after, output);
    }
    if (left_over > 0) {
        const int32_t last = left_over - columns;
        const dc_eight eight = dc_conv2d_eight(channel, x + last * stride, next);
        dc_conv2d_store(channel, &eight, after, output + last / shrink);
    }
}

/* A column that is left over beside the tiles, four rows at a time. */
DC_INLINE void dc_conv2d_last_column(const dc_conv2d_channel *channel, int8_t *output) {
    const dc_conv2d *const layer = channel->layer;
    const int32_t below = layer->stride_height * layer->in_width, bias = channel->bias;
    const int32_t x = layer->out_width - 1;
    int32_t y = 0;
    while (y < layer->out_height) {
        y = dc_minimum(y, layer->out_height - 4);
        int32_t sum[4] = {bias, bias, bias, bias};
        dc_conv2d_four(&channel->taps, dc_conv2d_window_at(layer, channel->input, y, x), below,
                       2 * below, 3 * below, dc_conv2d_flip(layer), sum);
        for (int32_t i = 0; i < 4; ++i, ++y) {
            output[y * layer->out_width + x] = dc_conv2d_requantize(channel, sum[i]);
        }
    }
}

DC_INLINE void dc_conv2d_tiled_plane(const dc_conv2d_channel *channel, int32_t rows, int32_t height,
                                     int32_t width, int8_t *output) {
    const dc_conv2d *const layer = channel->layer;
    const int32_t shrink = layer->pooled ? 2 : 1;
    const int32_t one_left = !layer->pooled && rows == 2 && width % 4 == 1 && height >= 4;
    for (int32_t y = 0; y < height; y = dc_conv2d_next_tile(y, rows, height)) {
        dc_conv2d_tile_row(channel, dc_conv2d_window_at(layer, channel->input, y, 0), rows,
                           width - one_left, output + y / shrink * layer->out_width);
    }
    if (one_left) {
        dc_conv2d_last_column(channel, output);
    }
}

/* --- the layer */

/* One output channel, the way that its shape allows: a constant to the compiler. */
DC_INLINE void dc_conv2d_channel_output_c(const dc_conv2d_channel *channel, int8_t *output) {
    const dc_conv2d *const layer = channel->layer;
    const int32_t shrink = layer->pooled ? 2 : 1;
    const int32_t height = layer->out_height * shrink, width = layer->out_width * shrink;
    const int32_t rows = dc_conv2d_rows_of_tiles(layer);
    if (rows > 0) {
        dc_conv2d_tiled_plane(channel, rows, height, width, output);
    } else if (layer->pooled) {
        dc_conv2d_pooled_plane(channel, output);
    } else {
        dc_conv2d_plane(channel, output);
    }
}

#if DC_HAS_MVE
#define dc_conv2d_channel_output dc_conv2d_channel_output_mve
#else
#define dc_conv2d_channel_output dc_conv2d_channel_output_c
#endif

/* input [groups * in_channels][height][width] -> output [out_channels][out_height][out_width] */
DC_INLINE void dc_conv2d_taps(const dc_conv2d *layer, const dc_weights *weights,
                              const int8_t *input, int8_t *output, int32_t *scratch) {
    const int32_t channels = layer->out_channels / layer->groups;
    dc_reader reader;
    dc_sparse_begin(&reader, weights);
    int32_t o = 0;
    for (int32_t group = 0; group < layer->groups; ++group) {
        const int8_t *const padded = dc_conv2d_pad(layer, input, scratch);
        for (int32_t end = o + channels; o < end; ++o) {
            const dc_taps taps =
                dc_conv2d_decode(layer, weights->encoding, &reader, (dc_tap *)scratch);
            const dc_conv2d_channel channel = {layer, taps, padded,
                                               dc_constant(&weights->bias, o) -
                                                   weights->zero_point * taps.total,
                                               dc_constant(&weights->multiplier, o)};
            dc_conv2d_channel_output(&channel, output);
            output += layer->out_height * layer->out_width;
        }
        input += dc_conv2d_group_size(layer);
    }
}

#endif
