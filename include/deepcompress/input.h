/*
 * Converts a sketch's numbers or raw bytes to the int8 input: quantize_float and quantize_bytes of
 * reference.py, bit for bit.
 */
#ifndef DEEPCOMPRESS_INPUT_H
#define DEEPCOMPRESS_INPUT_H

#include <stdint.h>

#include "requantize.h"

/*
 * Every float has a result: values outside of the range of int8, such as infinities, become the
 * nearest int8, and NaN becomes -128. No conversion to an integer is out of range.
 *
 * A division instead of a product with 1 / scale: the compiler may contract a product and a sum to
 * a fused multiply-add, whose rounding differs between CPUs.
 */
DC_INLINE int8_t dc_quantize(float x, float scale, int32_t zero_point) {
    const float low = (float)(-128 - zero_point), high = (float)(127 - zero_point);
    float steps = x / scale;
    steps = steps > low ? (steps < high ? steps : high) : low;
    steps += 0.5f;
    int32_t floored = (int32_t)steps;
    floored -= (float)floored > steps;
    return (int8_t)(floored + zero_point);
}

DC_INLINE void dc_quantize_floats(const float *x, int8_t *q, int32_t count, float scale,
                                  int32_t zero_point) {
    for (int32_t i = 0; i < count; ++i) {
        q[i] = dc_quantize(x[i], scale, zero_point);
    }
}

/* (u * multiplier + offset) >> shift, one pair of constants for each of `channels`. */
DC_INLINE void dc_quantize_bytes(const uint8_t *u, int8_t *q, int32_t channels, int32_t plane,
                                 const int32_t *multiplier, const int32_t *offset, int32_t shift) {
    for (int32_t channel = 0; channel < channels; ++channel) {
        for (int32_t i = 0; i < plane; ++i) {
            const int32_t value = (*u++ * multiplier[channel] + offset[channel]) >> shift;
            *q++ = (int8_t)dc_clamp(value, -128, 127);
        }
    }
}

#endif
