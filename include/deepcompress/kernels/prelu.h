/*
 * PReLU: multiplies values below zero by the slope of their channel; rescales all to the output.
 */
#ifndef DEEPCOMPRESS_KERNELS_PRELU_H
#define DEEPCOMPRESS_KERNELS_PRELU_H

#include <stdint.h>

#include "../requantize.h"

typedef struct {
    int32_t slopes;       /* channels, or 1 if all have the same slope */
    int32_t plane;        /* values that share a slope */
    int32_t zero_point;   /* of the input */
    int32_t positive;     /* multiplier of values from zero on; below 2^15 like all multipliers */
    const int16_t *slope; /* [slopes], the multipliers of values below zero */
    dc_requantize requantize;
} dc_prelu;

/* |value - zero_point| is below 2^8, so products fit 24 bits. output may be input */
DC_INLINE void dc_prelu_int8(const dc_prelu *layer, const int8_t *input, int8_t *output) {
    const dc_requantize *const by = &layer->requantize;
    for (int32_t channel = 0; channel < layer->slopes; ++channel) {
        const int32_t slope = layer->slope[channel];
        for (int32_t i = 0; i < layer->plane; ++i) {
            const int32_t value = *input++ - layer->zero_point;
            const int32_t product = value * (value < 0 ? slope : layer->positive);
            const int32_t rounded = (product + ((int32_t)1 << (by->shift - 1))) >> by->shift;
            *output++ = (int8_t)dc_clamp(rounded + by->zero_point, by->minimum, by->maximum);
        }
    }
}

#endif
