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
    DC_SIXTEEN /* if the sums of products of every channel fit int16 */
};

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
    int32_t tiles;         /* of dc_conv2d_tiles */
    int32_t scratch_words; /* 4-byte words of scratch before the padded input */
    dc_requantize requantize;
} dc_conv2d;

/* The first input of the window of convolution output (y, x). */
DC_INLINE const int8_t *dc_conv2d_window_at(const dc_conv2d *layer, const int8_t *input, int32_t y,
                                            int32_t x) {
    return input + y * layer->stride_height * layer->in_width + x * layer->stride_width;
}

DC_INLINE int8_t *dc_conv2d_fill(const dc_conv2d *layer, int8_t *to, int32_t count) {
    for (int32_t i = 0; i < count; ++i) {
        *to++ = (int8_t)layer->pad_value;
    }
    return to;
}

/* The input of a padded layer, copied to scratch with its zero point around it. */
DC_INLINE const int8_t *dc_conv2d_pad(const dc_conv2d *layer, const int8_t *input,
                                      int32_t *scratch) {
    if (!layer->padded) {
        return input;
    }
    int8_t *const padded = (int8_t *)(scratch + layer->scratch_words);
    const int32_t channels = layer->in_channels * layer->groups;
    const int32_t height = layer->in_height - layer->pad_top - layer->pad_bottom;
    const int32_t width = layer->in_width - layer->pad_left - layer->pad_right;
    int8_t *to = padded;
    for (int32_t channel = 0; channel < channels; ++channel) {
        to = dc_conv2d_fill(layer, to, layer->pad_top * layer->in_width);
        for (int32_t y = 0; y < height; ++y, input += width) {
            to = dc_conv2d_fill(layer, to, layer->pad_left);
            memcpy(to, input, (size_t)width);
            to = dc_conv2d_fill(layer, to + width, layer->pad_right);
        }
        to = dc_conv2d_fill(layer, to, layer->pad_bottom * layer->in_width);
    }
    return padded;
}

#endif
