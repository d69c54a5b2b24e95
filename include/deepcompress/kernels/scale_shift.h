/*
 * BatchNorm and arithmetic with constants, where no convolution or Linear beside them takes them
 * in:
 *
 *   output = clamp((input * multiplier[channel] + offset[channel]) >> shift)
 *
 * The zero points and the rounding are in the offset. |multiplier| < 2^15 and |offset| <= 2^30, so
 * the sum fits 32 bits.
 */
#ifndef DEEPCOMPRESS_KERNELS_SCALE_SHIFT_H
#define DEEPCOMPRESS_KERNELS_SCALE_SHIFT_H

#include <stdint.h>

#include "../requantize.h"

typedef struct {
    int32_t channels, plane;
    int32_t shift;             /* 1 .. 22 */
    int32_t minimum, maximum;  /* of the output, after the activation function */
    const int16_t *multiplier; /* [channels] */
    const int32_t *offset;     /* [channels] */
} dc_scale_shift;

/* input [channels][plane] -> output [channels][plane]; output may be input */
DC_INLINE void dc_scale_shift_int8(const dc_scale_shift *layer, const int8_t *input,
                                   int8_t *output) {
    for (int32_t channel = 0; channel < layer->channels; ++channel) {
        const int32_t multiplier = layer->multiplier[channel];
        const int32_t offset = layer->offset[channel];
        for (int32_t i = 0; i < layer->plane; ++i) {
            const int32_t value = (*input++ * multiplier + offset) >> layer->shift;
            *output++ = (int8_t)dc_clamp(value, layer->minimum, layer->maximum);
        }
    }
}

#endif
