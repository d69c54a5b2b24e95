/*
 * A convolution weight by weight (conv2d_taps.h), four positions or one at a time, for any CPU and
 * any shape.
 */
#ifndef DEEPCOMPRESS_KERNELS_CONV2D_TAPS_C_H
#define DEEPCOMPRESS_KERNELS_CONV2D_TAPS_C_H

#include "../dsp.h"
#include "conv2d_channel.h"

DC_INLINE int8_t dc_conv2d_requantize(const dc_conv2d_channel *channel, int32_t sum) {
    return dc_requantize_int8(sum, channel->multiplier, &channel->layer->requantize);
}

DC_INLINE int32_t dc_largest_of_four(int32_t a, int32_t b, int32_t c, int32_t d) {
    return dc_maximum(dc_maximum(a, b), dc_maximum(c, d));
}

/* Adds the sums of the positions whose windows begin at x[0], x[at1], x[at2], x[at3]. `flip` flips
 * the sign bits of the inputs. */
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

/* All positions of an output channel. */
DC_INLINE void dc_conv2d_channel_c(const dc_conv2d_channel *channel, int8_t *output) {
    if (channel->layer->pooled) {
        dc_conv2d_pooled_plane(channel, output);
    } else {
        dc_conv2d_plane(channel, output);
    }
}

#endif
