/*
 * A convolution weight by weight (conv2d_taps.h) with vectors of outputs: each weight of an output
 * channel is multiplied with the inputs of three vectors of outputs. A gather load reads the
 * inputs, so strides, ends of rows and pooling windows need no special case. A vector has four
 * outputs, or eight if the sums fit int16. The last three vectors end with the channel.
 *
 * 9 instructions per tap for twelve or twenty-four outputs, and about 20 per vector for its
 * windows, pooling and requantization.
 */
#ifndef DEEPCOMPRESS_KERNELS_CONV2D_TAPS_MVE_H
#define DEEPCOMPRESS_KERNELS_CONV2D_TAPS_MVE_H

#include "../mve.h"
#include "conv2d_channel.h"

#if DC_HAS_MVE

/* Bytes from the (pooling) window of an output to that of the next output, and of the next row. */
DC_INLINE int32_t dc_conv2d_right(const dc_conv2d *layer) {
    return layer->pool_stride_width * layer->stride_width;
}

DC_INLINE int32_t dc_conv2d_below(const dc_conv2d *layer) {
    return layer->pool_stride_height * layer->stride_height * layer->in_width;
}

DC_INLINE int32_t dc_conv2d_outputs(const dc_conv2d *layer) {
    return layer->out_height * layer->out_width;
}

/* --- four outputs in a vector */

/*
 * The offsets of the windows of outputs `first` to `first` + 3; outputs after the last one get its
 * offset. Division by the width as a multiplication is exact if width * output is below 2^32.
 */
DC_INLINE uint32x4_t dc_conv2d_four_windows(const dc_conv2d *layer, int32_t first) {
    const int32_t width = layer->out_width, right = dc_conv2d_right(layer);
    uint32x4_t output = vidupq_n_u32((uint32_t)first, 1);
    if (dc_conv2d_outputs(layer) < 12) {
        output = vminq_u32(output, vdupq_n_u32((uint32_t)dc_conv2d_outputs(layer) - 1));
    }
    const uint32x4_t row =
        vmulhq_u32(vaddq_n_u32(output, 1), vdupq_n_u32(UINT32_MAX / (uint32_t)width));
    return vmlaq_n_u32(right == 1 ? output : vmulq_n_u32(output, (uint32_t)right), row,
                       (uint32_t)(dc_conv2d_below(layer) - width * right));
}

/* Sets three vectors to the sums of windows, with pooling to the maximum of both. */
DC_INLINE void dc_conv2d_raise_fours(const dc_conv2d_channel *channel, const int8_t *x,
                                     const uint32x4_t *windows, int32x4_t *largest) {
    const uint32x4_t at_a = windows[0], at_b = windows[1], at_c = windows[2];
    int32x4_t a = vdupq_n_s32(channel->bias), b = a, c = a;
    const dc_tap *tap = channel->taps.first;
    for (int32_t left = (int32_t)(channel->taps.end - tap); left > 0; --left, ++tap) {
        const int32_t weight = dc_bottom(*tap);
        x += *tap >> 16;
        a = vmlaq_n_s32(a, vldrbq_gather_offset_s32(x, at_a), weight);
        b = vmlaq_n_s32(b, vldrbq_gather_offset_s32(x, at_b), weight);
        c = vmlaq_n_s32(c, vldrbq_gather_offset_s32(x, at_c), weight);
    }
    largest[0] = channel->layer->pooled ? vmaxq_s32(largest[0], a) : a;
    largest[1] = channel->layer->pooled ? vmaxq_s32(largest[1], b) : b;
    largest[2] = channel->layer->pooled ? vmaxq_s32(largest[2], c) : c;
}

/* Twelve outputs from `first` on, which is in the row of windows that begins at `row`. */
DC_INLINE void dc_conv2d_twelve(const dc_conv2d_channel *channel, const int8_t *row, int32_t first,
                                int8_t *output) {
    const dc_conv2d *const layer = channel->layer;
    const int32x4_t lowest = vdupq_n_s32(INT32_MIN);
    const uint32x4_t windows[3] = {dc_conv2d_four_windows(layer, first),
                                   dc_conv2d_four_windows(layer, first + 4),
                                   dc_conv2d_four_windows(layer, first + 8)};
    int32x4_t largest[3] = {lowest, lowest, lowest};
    for (int32_t y = 0; y < layer->pool_height; ++y) {
        for (int32_t x = 0; x < layer->pool_width; ++x) {
            dc_conv2d_raise_fours(channel, dc_conv2d_window_at(layer, row, y, x), windows, largest);
        }
    }
    DC_UNROLL(3)
    for (int32_t i = 0; i < 3; ++i) {
        dc_store_four(
            output + 4 * i,
            dc_requantize_four(largest[i], vdupq_n_s32(channel->multiplier), &layer->requantize),
            dc_conv2d_outputs(layer) - 4 * i);
    }
}

/* --- eight outputs in a vector */

/* Like dc_conv2d_four_windows. */
DC_INLINE uint16x8_t dc_conv2d_eight_windows(const dc_conv2d *layer, int32_t first) {
    const int32_t width = layer->out_width, right = dc_conv2d_right(layer);
    uint16x8_t output = vidupq_n_u16((uint32_t)first, 1);
    if (dc_conv2d_outputs(layer) < 24) {
        output = vminq_u16(output, vdupq_n_u16((uint16_t)(dc_conv2d_outputs(layer) - 1)));
    }
    const uint16x8_t row =
        vmulhq_u16(vaddq_n_u16(output, 1), vdupq_n_u16((uint16_t)(UINT16_MAX / width)));
    return vmlaq_n_u16(right == 1 ? output : vmulq_n_u16(output, (uint16_t)right), row,
                       (uint16_t)(dc_conv2d_below(layer) - width * right));
}

/* Like dc_conv2d_raise_fours, without the bias; the sums fit int16. */
DC_INLINE void dc_conv2d_raise_eights(const dc_conv2d_channel *channel, const int8_t *x,
                                      const uint16x8_t *windows, int16x8_t *largest) {
    const uint16x8_t at_a = windows[0], at_b = windows[1], at_c = windows[2];
    int16x8_t a = vdupq_n_s16(0), b = a, c = a;
    const dc_tap *tap = channel->taps.first;
    for (int32_t left = (int32_t)(channel->taps.end - tap); left > 0; --left, ++tap) {
        const int16_t weight = (int16_t)dc_bottom(*tap);
        x += *tap >> 16;
        a = vmlaq_n_s16(a, vldrbq_gather_offset_s16(x, at_a), weight);
        b = vmlaq_n_s16(b, vldrbq_gather_offset_s16(x, at_b), weight);
        c = vmlaq_n_s16(c, vldrbq_gather_offset_s16(x, at_c), weight);
    }
    largest[0] = channel->layer->pooled ? vmaxq_s16(largest[0], a) : a;
    largest[1] = channel->layer->pooled ? vmaxq_s16(largest[1], b) : b;
    largest[2] = channel->layer->pooled ? vmaxq_s16(largest[2], c) : c;
}

/* Twenty-four outputs, like dc_conv2d_twelve. */
DC_INLINE void dc_conv2d_twenty_four(const dc_conv2d_channel *channel, const int8_t *row,
                                     int32_t first, int8_t *output) {
    const dc_conv2d *const layer = channel->layer;
    const int16x8_t lowest = vdupq_n_s16(INT16_MIN);
    const uint16x8_t windows[3] = {dc_conv2d_eight_windows(layer, first),
                                   dc_conv2d_eight_windows(layer, first + 8),
                                   dc_conv2d_eight_windows(layer, first + 16)};
    int16x8_t largest[3] = {lowest, lowest, lowest};
    for (int32_t y = 0; y < layer->pool_height; ++y) {
        for (int32_t x = 0; x < layer->pool_width; ++x) {
            dc_conv2d_raise_eights(channel, dc_conv2d_window_at(layer, row, y, x), windows,
                                   largest);
        }
    }
    DC_UNROLL(3)
    for (int32_t i = 0; i < 3; ++i) {
        const int32x4_t even = vaddq_n_s32(vmovlbq_s16(largest[i]), channel->bias);
        const int32x4_t odd = vaddq_n_s32(vmovltq_s16(largest[i]), channel->bias);
        dc_store_eight(
            output + 8 * i,
            dc_requantize_eight(even, odd, vdupq_n_s32(channel->multiplier), &layer->requantize),
            dc_conv2d_outputs(layer) - 8 * i);
    }
}

/* --- the channel */

/* `size` outputs at a time, 12 or 24. */
DC_INLINE void dc_conv2d_vector_plane(const dc_conv2d_channel *channel, int32_t size,
                                      int8_t *output) {
    const dc_conv2d *const layer = channel->layer;
    const int32_t count = dc_conv2d_outputs(layer);
    for (int32_t done = 0; done < count; done += size) {
        const int32_t at = dc_maximum(dc_minimum(done, count - size), 0);
        const int32_t y = at / layer->out_width;
        const int8_t *const row = channel->input + y * dc_conv2d_below(layer);
        if (size == 24) {
            dc_conv2d_twenty_four(channel, row, at - y * layer->out_width, output + at);
        } else {
            dc_conv2d_twelve(channel, row, at - y * layer->out_width, output + at);
        }
    }
}

#endif

#endif
