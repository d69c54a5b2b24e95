/*
 * Shared by all kernels for Conv2d: its shape, and its input with padding.
 */
#ifndef DEEPCOMPRESS_KERNELS_CONV2D_LAYER_H
#define DEEPCOMPRESS_KERNELS_CONV2D_LAYER_H

#include <stdint.h>
#include <string.h>

#include "../requantize.h"
#include "../weights.h"

typedef struct {
    int32_t in_channels;         /* of one group */
    int32_t in_height, in_width; /* of a channel, with padding except that of the next one */
    int32_t out_channels, out_height, out_width; /* after pooling */
    int32_t groups;
    int32_t kernel_height, kernel_width;
    int32_t stride_height, stride_width;
    int32_t dilation_height, dilation_width;
    int32_t padded;                                   /* whether any of the next five is above 0 */
    int32_t pad_top, pad_left, pad_bottom, pad_right; /* the last two exclude shared padding */
    int32_t pad_end;   /* padding after the last channel, which has no next one */
    int32_t pad_value; /* zero point of the input */
    int32_t pooled;    /* whether the next four are used */
    int32_t pool_height, pool_width;
    int32_t pool_stride_height, pool_stride_width;
    int32_t tile_rows;     /* rows of a tile of eight positions, 1 or 2: for kernels with tiles */
    int32_t scratch_words; /* 4-byte words of scratch before the padded input */
    dc_requantize requantize;
} dc_conv2d;

/* The first input of the window of convolution output (y, x). */
DC_INLINE const int8_t *dc_conv2d_window_at(const dc_conv2d *layer, const int8_t *input, int32_t y,
                                            int32_t x) {
    return input + y * layer->stride_height * layer->in_width + x * layer->stride_width;
}

/* Copies from front to back: `to` may be before `from` and overlap it. `flip`: 0, or -128 to flip
 * the signs. */
DC_INLINE int8_t *dc_conv2d_copy(int8_t *to, const int8_t *from, int32_t count, int32_t flip) {
    for (; DC_HAS_UNALIGNED && count >= 4; count -= 4, to += 4, from += 4) {
        const uint32_t word = dc_load_word(from) ^ (flip ? 0x80808080 : 0);
        memcpy(to, &word, sizeof word);
    }
    for (; count > 0; --count) {
        *to++ = (int8_t)(*from++ ^ flip);
    }
    return to;
}

DC_INLINE int8_t *dc_conv2d_fill(int8_t *to, int32_t count, int32_t value) {
    for (int32_t i = 0; i < count; ++i) {
        *to++ = (int8_t)value;
    }
    return to;
}

/* Bytes of the input of one group, without padding. */
DC_INLINE int32_t dc_conv2d_group_size(const dc_conv2d *layer) {
    return layer->in_channels * (layer->in_height - layer->pad_top - layer->pad_bottom) *
           (layer->in_width - layer->pad_left - layer->pad_right);
}

/*
 * The input of one group; a copy of it in scratch if it is padded or its signs are flipped. The
 * padding on the right of a row is also the left padding of the next row, and the padding below a
 * channel is also the top padding of the next channel. The copy may overlap the input if it does
 * not end after it: writing then never passes reading.
 */
DC_INLINE const int8_t *dc_conv2d_pad(const dc_conv2d *layer, const int8_t *input, int32_t *scratch,
                                      int32_t flip) {
    int8_t *const padded = (int8_t *)(scratch + layer->scratch_words);
    if (!layer->padded) {
        if (!flip) {
            return input;
        }
        dc_conv2d_copy(padded, input, dc_conv2d_group_size(layer), flip);
        return padded;
    }
    const int32_t height = layer->in_height - layer->pad_top - layer->pad_bottom;
    const int32_t width = layer->in_width - layer->pad_left - layer->pad_right;
    const int32_t value = layer->pad_value ^ flip;
    int8_t *to = padded;
    for (int32_t channel = 0; channel < layer->in_channels; ++channel) {
        to = dc_conv2d_fill(to, layer->pad_top * layer->in_width, value);
        for (int32_t y = 0; y < height; ++y, input += width) {
            to = dc_conv2d_fill(to, layer->pad_left, value);
            to = dc_conv2d_copy(to, input, width, flip);
            to = dc_conv2d_fill(to, layer->pad_right, value);
        }
        to = dc_conv2d_fill(to, layer->pad_bottom * layer->in_width, value);
    }
    dc_conv2d_fill(to, layer->pad_end, value);
    return padded;
}

#endif
