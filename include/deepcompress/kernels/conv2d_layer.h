/*
 * What all ways to compute a Conv2d share: its shape, and its input with the padding around it.
 */
#ifndef DEEPCOMPRESS_KERNELS_CONV2D_LAYER_H
#define DEEPCOMPRESS_KERNELS_CONV2D_LAYER_H

#include <stdint.h>
#include <string.h>

#include "../requantize.h"
#include "../weights.h"

/* How many positions are computed at a time, where the CPU has the DSP extension and the shape
 * allows it: more are faster, and take more code. */
enum dc_conv2d_tiles {
    DC_FOUR,
    DC_EIGHT,
    DC_SIXTEEN /* if the sums of products of every channel fit int16; copies its input */
};

typedef struct {
    int32_t in_channels;         /* of one group */
    int32_t in_height, in_width; /* of a channel, with the padding that is not the next one's */
    int32_t out_channels, out_height, out_width; /* after pooling */
    int32_t groups;
    int32_t kernel_height, kernel_width;
    int32_t stride_height, stride_width;
    int32_t dilation_height, dilation_width;
    int32_t padded;                                   /* whether any of the next five is above 0 */
    int32_t pad_top, pad_left, pad_bottom, pad_right; /* the last two: not the next one's */
    int32_t pad_end;   /* padding behind the last channel, which has no next one */
    int32_t pad_value; /* zero point of the input */
    int32_t pooled;    /* whether the next four mean anything */
    int32_t pool_height, pool_width;
    int32_t pool_stride_height, pool_stride_width;
    int32_t tiles;         /* of dc_conv2d_tiles */
    int32_t scratch_words; /* 4-byte words of scratch before the padded input */
    dc_requantize requantize;
} dc_conv2d;

/* The first input of the window of convolution output (y, x). */
DC_INLINE const int8_t *dc_conv2d_window_at(const dc_conv2d *layer, const int8_t *input, int32_t y,
                                            int32_t x) {
    return input + y * layer->stride_height * layer->in_width + x * layer->stride_width;
}

/* Rows of a tile of eight positions: 2 or 1, whichever needs fewer tiles, or 0 where none fits. */
DC_INLINE int32_t dc_conv2d_tile_rows(const dc_conv2d *layer, int32_t height, int32_t width) {
    const int32_t one = height * ((width + 7) / 8), two = (height + 1) / 2 * ((width + 3) / 4);
    const int32_t fits_one = width >= 8 && !layer->pooled;
    const int32_t fits_two =
        height >= 2 && width >= 4 && layer->stride_height * layer->in_width < 4088;
    if (!DC_HAS_DSP || layer->tiles == DC_FOUR || layer->stride_width > 2) {
        return 0;
    }
    if (layer->pooled && !(layer->pool_height == 2 && layer->pool_width == 2 &&
                           layer->pool_stride_height == 2 && layer->pool_stride_width == 2)) {
        return 0;
    }
    return fits_two && (two <= one || !fits_one) ? 2 : fits_one;
}

DC_INLINE int32_t dc_conv2d_rows_of_tiles(const dc_conv2d *layer) {
    const int32_t shrink = layer->pooled ? 2 : 1;
    return dc_conv2d_tile_rows(layer, layer->out_height * shrink, layer->out_width * shrink);
}

/* Whether sums are narrow, and inputs unsigned for it: their sign bits flipped. MVE has narrow sums
 * of signed inputs. */
DC_INLINE int32_t dc_conv2d_is_narrow(const dc_conv2d *layer) {
    return !DC_HAS_MVE && layer->tiles == DC_SIXTEEN && layer->stride_width == 1 &&
           dc_conv2d_rows_of_tiles(layer) > 0;
}

DC_INLINE int32_t dc_conv2d_flip(const dc_conv2d *layer) {
    return dc_conv2d_is_narrow(layer) ? -128 : 0;
}

/* From the front on: `to` may lie before `from`, and overlap it. */
DC_INLINE int8_t *dc_conv2d_copy(const dc_conv2d *layer, int8_t *to, const int8_t *from,
                                 int32_t count) {
    const int32_t flip = dc_conv2d_flip(layer);
    for (; DC_HAS_UNALIGNED && count >= 4; count -= 4, to += 4, from += 4) {
        const uint32_t word = dc_load_word(from) ^ (flip ? 0x80808080 : 0);
        memcpy(to, &word, sizeof word);
    }
    for (; count > 0; --count) {
        *to++ = (int8_t)(*from++ ^ flip);
    }
    return to;
}

DC_INLINE int8_t *dc_conv2d_fill(const dc_conv2d *layer, int8_t *to, int32_t count) {
    for (int32_t i = 0; i < count; ++i) {
        *to++ = (int8_t)(layer->pad_value ^ dc_conv2d_flip(layer));
    }
    return to;
}

/* Bytes of the input of one group, without padding. */
DC_INLINE int32_t dc_conv2d_group_size(const dc_conv2d *layer) {
    return layer->in_channels * (layer->in_height - layer->pad_top - layer->pad_bottom) *
           (layer->in_width - layer->pad_left - layer->pad_right);
}

/*
 * The input of one group; if it is padded or narrow, a copy of it in scratch. What is padded right
 * of a row is left of the next as well, and below a channel, above the next. The copy may lie over
 * the input if it does not end behind it: it never catches up with what is still to be read.
 */
DC_INLINE const int8_t *dc_conv2d_pad(const dc_conv2d *layer, const int8_t *input,
                                      int32_t *scratch) {
    int8_t *const padded = (int8_t *)(scratch + layer->scratch_words);
    if (!layer->padded) {
        if (!dc_conv2d_is_narrow(layer)) {
            return input;
        }
        dc_conv2d_copy(layer, padded, input, dc_conv2d_group_size(layer));
        return padded;
    }
    const int32_t height = layer->in_height - layer->pad_top - layer->pad_bottom;
    const int32_t width = layer->in_width - layer->pad_left - layer->pad_right;
    int8_t *to = padded;
    for (int32_t channel = 0; channel < layer->in_channels; ++channel) {
        to = dc_conv2d_fill(layer, to, layer->pad_top * layer->in_width);
        for (int32_t y = 0; y < height; ++y, input += width) {
            to = dc_conv2d_fill(layer, to, layer->pad_left);
            to = dc_conv2d_copy(layer, to, input, width);
            to = dc_conv2d_fill(layer, to, layer->pad_right);
        }
        to = dc_conv2d_fill(layer, to, layer->pad_bottom * layer->in_width);
    }
    dc_conv2d_fill(layer, to, layer->pad_end);
    return padded;
}

#endif
