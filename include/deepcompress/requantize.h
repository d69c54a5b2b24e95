/*
 * Converts an int32 accumulator to an int8 activation: the arithmetic of requantize.py, bit for
 * bit.
 */
#ifndef DEEPCOMPRESS_REQUANTIZE_H
#define DEEPCOMPRESS_REQUANTIZE_H

#include <stdint.h>

#include "dsp.h"
#include "model.h"

typedef struct {
    int32_t shift;      /* 1 .. 62, the same for all channels of a layer */
    int32_t zero_point; /* of the output, -128 .. 127 */
    int32_t minimum;    /* of the output after the activation function */
    int32_t maximum;
} dc_requantize;

DC_INLINE int32_t dc_maximum(int32_t a, int32_t b) {
    return a > b ? a : b;
}

DC_INLINE int32_t dc_minimum(int32_t a, int32_t b) {
    return a < b ? a : b;
}

DC_INLINE int32_t dc_clamp(int32_t value, int32_t minimum, int32_t maximum) {
    return value < minimum ? minimum : value > maximum ? maximum : value;
}

/*
 * The multiplier is below 2^31, so the product and the rounding fit 63 bits. The result fits 32:
 * multiplier / 2^shift is at most 1. Shifting a negative number right floors on every compiler
 * that targets Arm (C99 6.5.7 leaves it to the implementation).
 */
DC_INLINE int8_t dc_requantize_int8(int32_t accumulator, int32_t multiplier,
                                    const dc_requantize *by) {
    if (DC_DSP_INSTRUCTIONS && by->shift == 32 && by->minimum == -128 && by->maximum == 127) {
        return (int8_t)dc_ssat8(dc_smmulr(accumulator, multiplier) + by->zero_point);
    }
    const int64_t rounded = (int64_t)accumulator * multiplier + ((int64_t)1 << (by->shift - 1));
    const int32_t value = (int32_t)(rounded >> by->shift) + by->zero_point;
    return (int8_t)dc_clamp(value, by->minimum, by->maximum);
}

#endif
