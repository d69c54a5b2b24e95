/*
 * A convolution weight by weight (conv2d_taps.h) with the DSP extension, in tiles of eight
 * positions: two groups of four neighbours in a row. With pooling a tile is two rows of four, which
 * are two complete 2x2 windows; without pooling, one or two rows, whichever leaves a smaller
 * remainder. At the edges the last tile overlaps the previous one; some outputs are computed twice.
 *
 * If the weights of every channel are so small that sums of products fit int16 (narrow), one
 * multiplication computes two positions, and a tile has sixteen.
 *
 * Cycles on Cortex-M4, zero wait states: 21 per tap for eight positions, 23 if the stride is 2, and
 * about 70 for their biases, pooling and requantization; 30 per tap for sixteen narrow positions.
 */
#ifndef DEEPCOMPRESS_KERNELS_CONV2D_TAPS_DSP_H
#define DEEPCOMPRESS_KERNELS_CONV2D_TAPS_DSP_H

#include "../dsp_steps.h"
#include "conv2d_taps_c.h"

/* Sums of eight positions: the first group of four, then the second. */
typedef struct {
    int32_t sum[8];
} dc_eight;

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

/* Stores four outputs, and four `next` after them; with pooling, one per two columns of both. */
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
 * Sums of eight positions that fit int16, two in a word: low + high * 2^16. One multiplication by a
 * weight updates both. Inputs are unsigned, 128 above their value, and the sums start at 2^15 less
 * 128 times the sum of the weights. This keeps the low half non-negative, so it never borrows from
 * the high half.
 */
typedef struct {
    uint32_t a02, a13, b02, b13;
} dc_narrow_eight;

#define DC_NARROW_ZERO 0x8000

/* What flips the sign of an int8: x ^ DC_FLIPPED is x + 128 as an unsigned byte. */
#define DC_FLIPPED (-128)

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

/* The same for eight positions from x on and eight from x[next] on; `right` has the last four of
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

/* Stores the outputs of the two sums in a word; the second is `distance` after the first. */
DC_INLINE void dc_conv2d_store_pair(const dc_conv2d_channel *channel, uint32_t pair,
                                    int32_t distance, int8_t *output) {
    const int32_t bias = channel->bias - DC_NARROW_ZERO;
    output[0] = dc_conv2d_requantize(channel, bias + (int32_t)(pair & 0xffff));
    output[distance] = dc_conv2d_requantize(channel, bias + (int32_t)(pair >> 16));
}

/* Like dc_conv2d_store. */
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

DC_INLINE void dc_conv2d_narrow_tile(const dc_conv2d_channel *channel, const int8_t *x,
                                     int32_t rows, int8_t *output) {
    const dc_conv2d *const layer = channel->layer;
    const int32_t next = rows == 1 ? 4 : layer->stride_height * layer->in_width;
    const dc_narrow_eight eight = dc_conv2d_narrow_eight(&channel->taps, x, next);
    dc_conv2d_store_narrow(channel, &eight, rows == 1 ? 4 : layer->out_width, output);
}

/* A row of tiles (dc_conv2d_tile_row), sixteen positions at a time, and eight at the end. */
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
                                  int32_t rows, int32_t width, int32_t narrow, int8_t *output) {
    const dc_conv2d *const layer = channel->layer;
    const int32_t stride = layer->stride_width, columns = 8 / rows;
    const int32_t below = layer->stride_height * layer->in_width;
    const int32_t shrink = layer->pooled ? 2 : 1;
    if (narrow) {
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

/* A remaining column next to the tiles, four rows at a time. */
DC_INLINE void dc_conv2d_last_column(const dc_conv2d_channel *channel, int32_t flip,
                                     int8_t *output) {
    const dc_conv2d *const layer = channel->layer;
    const int32_t below = layer->stride_height * layer->in_width, bias = channel->bias;
    const int32_t x = layer->out_width - 1;
    int32_t y = 0;
    while (y < layer->out_height) {
        y = dc_minimum(y, layer->out_height - 4);
        int32_t sum[4] = {bias, bias, bias, bias};
        dc_conv2d_four(&channel->taps, dc_conv2d_window_at(layer, channel->input, y, x), below,
                       2 * below, 3 * below, flip, sum);
        for (int32_t i = 0; i < 4; ++i, ++y) {
            output[y * layer->out_width + x] = dc_conv2d_requantize(channel, sum[i]);
        }
    }
}

/* The first row of the tiles after those at y: the last tiles end with the plane. */
DC_INLINE int32_t dc_conv2d_next_row(int32_t y, int32_t rows, int32_t height) {
    const int32_t last = height - rows;
    return height % rows == 0 || y >= last ? y + rows : dc_minimum(y + rows, last);
}

/* All positions of an output channel; with narrow sums if `narrow`. */
DC_INLINE void dc_conv2d_tiled_plane(const dc_conv2d_channel *channel, int32_t narrow,
                                     int8_t *output) {
    const dc_conv2d *const layer = channel->layer;
    const int32_t shrink = layer->pooled ? 2 : 1, rows = layer->tile_rows;
    const int32_t height = layer->out_height * shrink, width = layer->out_width * shrink;
    const int32_t one_left = !layer->pooled && rows == 2 && width % 4 == 1 && height >= 4;
    for (int32_t y = 0; y < height; y = dc_conv2d_next_row(y, rows, height)) {
        dc_conv2d_tile_row(channel, dc_conv2d_window_at(layer, channel->input, y, 0), rows,
                           width - one_left, narrow, output + y / shrink * layer->out_width);
    }
    if (one_left) {
        dc_conv2d_last_column(channel, narrow ? DC_FLIPPED : 0, output);
    }
}

#endif
