/*
 * BatchNorm and arithmetic with constants, if they are not fused into a convolution or Linear next
 * to them:
 *
 *   output = clamp((input * multiplier[channel] + offset[channel]) >> shift)
 *
 * The zero points and the rounding are in the offset. |multiplier| < 2^15 and |offset| <= 2^30, so
 * the sum fits 32 bits.
 */
#ifndef DEEPCOMPRESS_KERNELS_SCALE_SHIFT_H
#define DEEPCOMPRESS_KERNELS_SCALE_SHIFT_H

#include <stdint.h>

#include "scaled.h"

typedef struct {
    int32_t channels, plane;
    int32_t shift;             /* 1 .. 22 */
    int32_t minimum, maximum;  /* of the output, after the activation function */
    const int16_t *multiplier; /* [channels] */
    const int32_t *offset;     /* [channels] */
} dc_scale_shift;

DC_INLINE int8_t dc_scale_shift_scaled(const dc_scale_shift *layer, int32_t sum) {
    return dc_scaled(sum, layer->shift, layer->minimum, layer->maximum);
}

/* Four values of a channel; 6 cycles each on Cortex-M4. */
DC_INLINE void dc_scale_shift_four(const dc_scale_shift *layer, const int8_t *x, int32_t multiplier,
                                   int32_t offset, int8_t *output) {
    const uint32_t word = dc_load_word(x), by = (uint32_t)multiplier;
    const uint32_t x02 = dc_sxtb16(word), x13 = dc_sxtb16_ror8(word);
    output[0] = dc_scale_shift_scaled(layer, dc_smlabb(x02, by, offset));
    output[1] = dc_scale_shift_scaled(layer, dc_smlabb(x13, by, offset));
    output[2] = dc_scale_shift_scaled(layer, dc_smlatb(x02, by, offset));
    output[3] = dc_scale_shift_scaled(layer, dc_smlatb(x13, by, offset));
}

/* input [channels][plane] -> output [channels][plane]; output may be input */
DC_INLINE void dc_scale_shift_int8(const dc_scale_shift *layer, const int8_t *input,
                                   int8_t *output) {
    for (int32_t channel = 0; channel < layer->channels; ++channel) {
        const int32_t multiplier = layer->multiplier[channel];
        const int32_t offset = layer->offset[channel];
        int32_t i = 0;
        for (; DC_HAS_DSP && i + 4 <= layer->plane; i += 4) {
            dc_scale_shift_four(layer, input + i, multiplier, offset, output + i);
        }
        for (; i < layer->plane; ++i) {
            output[i] = dc_scale_shift_scaled(layer, input[i] * multiplier + offset);
        }
        input += layer->plane;
        output += layer->plane;
    }
}

#endif
