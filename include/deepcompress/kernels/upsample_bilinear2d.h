/*
 * Bilinear upsampling by 2: a mean of four neighbours, where the nearest has the weight 9/16 and
 * the farthest 1/16. At the border the outermost row and column count twice.
 */
#ifndef DEEPCOMPRESS_KERNELS_UPSAMPLE_BILINEAR2D_H
#define DEEPCOMPRESS_KERNELS_UPSAMPLE_BILINEAR2D_H

#include <stdint.h>

#include "../requantize.h"

typedef struct {
    int32_t channels, height, width; /* of the input */
    int32_t minimum, maximum;        /* of the activation function after it */
} dc_upsample_bilinear2d;

/* Two outputs of a row: `nearer` and `farther` are input rows; the nearer one has the weight
 * 3/4. */
DC_INLINE void dc_upsample_bilinear2d_row(const dc_upsample_bilinear2d *layer, const int8_t *nearer,
                                          const int8_t *farther, int8_t *output) {
    int32_t here = 3 * nearer[0] + farther[0], before = here;
    for (int32_t x = 1; x <= layer->width; ++x) {
        const int32_t at = dc_minimum(x, layer->width - 1);
        const int32_t after = 3 * nearer[at] + farther[at];
        const int32_t left = (before + 3 * here + 8) >> 4, right = (3 * here + after + 8) >> 4;
        *output++ = (int8_t)dc_clamp(left, layer->minimum, layer->maximum);
        *output++ = (int8_t)dc_clamp(right, layer->minimum, layer->maximum);
        before = here;
        here = after;
    }
}

/* input [channels][height][width] -> output [channels][2 height][2 width] */
DC_INLINE void dc_upsample_bilinear2d_int8(const dc_upsample_bilinear2d *layer, const int8_t *input,
                                           int8_t *output) {
    for (int32_t channel = 0; channel < layer->channels; ++channel) {
        for (int32_t y = 0; y < layer->height; ++y, input += layer->width) {
            const int8_t *above = y > 0 ? input - layer->width : input;
            const int8_t *below = y + 1 < layer->height ? input + layer->width : input;
            dc_upsample_bilinear2d_row(layer, input, above, output);
            output += 2 * layer->width;
            dc_upsample_bilinear2d_row(layer, input, below, output);
            output += 2 * layer->width;
        }
    }
}

#endif
