/*
 * LayerNorm and RMSNorm over the last axes: platformio_plugin/deepcompress/ops/layer_norm.py, bit
 * for bit.
 */
#ifndef DEEPCOMPRESS_KERNELS_LAYER_NORM_H
#define DEEPCOMPRESS_KERNELS_LAYER_NORM_H

#include <stdint.h>

#include "../requantize.h"

typedef struct {
    int32_t rows, length; /* values per row, at most 2^15 */
    int32_t centered;     /* whether the mean is subtracted: LayerNorm */
    int32_t shared;       /* whether all values share one gain and bias */
    int32_t input_zero_point;
    int64_t epsilon;     /* times 2^8 * length^2 / input step^2; 1 .. 2^61 */
    const int16_t *gain; /* [length] or [1] */
    const int32_t *bias; /* likewise */
    dc_requantize requantize;
} dc_layer_norm;

/* The root of a value above 0, as root * 2^exponent with 2^15 <= root < 2^16. */
typedef struct {
    uint32_t root;
    int32_t exponent;
} dc_root;

DC_INLINE dc_root dc_find_root(uint64_t value) {
    dc_root found = {0, 0};
    for (; value >> 32; value >>= 2) {
        ++found.exponent;
    }
    for (; value < ((uint32_t)1 << 30); value <<= 2) {
        --found.exponent;
    }
    for (uint32_t bit = (uint32_t)1 << 15; bit; bit >>= 1) {
        const uint32_t larger = found.root | bit;
        found.root = larger * larger <= (uint32_t)value ? larger : found.root;
    }
    return found;
}

/* x[length] -> y[length]; y may be x */
DC_INLINE void dc_layer_norm_row(const dc_layer_norm *layer, const int8_t *x, int8_t *y) {
    const dc_requantize *const by = &layer->requantize;
    int32_t sum = 0;
    uint32_t squares = 0; /* 2^15 values below 2^16 */
    for (int32_t i = 0; i < layer->length; ++i) {
        const int32_t value = x[i] - layer->input_zero_point;
        sum += value;
        squares += (uint32_t)(value * value);
    }
    sum = layer->centered ? sum : 0;
    /* length^2 * variance: below 2^46 */
    const int64_t spread = (int64_t)layer->length * squares - (int64_t)sum * sum;
    const dc_root deviation = dc_find_root((uint64_t)(spread * 256 + layer->epsilon));
    const int32_t inverse = (int32_t)(UINT32_C(0x80000000) / deviation.root); /* to 2^16 */
    const int32_t shift = deviation.exponent + 17;                            /* from 2 on */
    for (int32_t i = 0; i < layer->length; ++i) {
        const int32_t at = layer->shared ? 0 : i;
        const int32_t away = layer->length * (x[i] - layer->input_zero_point) - sum;
        const int64_t product = (int64_t)away * inverse + ((int64_t)1 << (shift - 1));
        /* sqrt(length) * 2^10 at most; the compiler chose gain and bias to fit 31 bits with it */
        const int32_t normal = (int32_t)(product >> shift);
        const int32_t scaled = normal * layer->gain[at] + layer->bias[at];
        const int32_t value = (scaled + ((int32_t)1 << (by->shift - 1))) >> by->shift;
        y[i] = (int8_t)dc_clamp(value + by->zero_point, by->minimum, by->maximum);
    }
}

/* output may be input */
DC_INLINE void dc_layer_norm_int8(const dc_layer_norm *layer, const int8_t *input, int8_t *output) {
    for (int32_t row = 0; row < layer->rows; ++row) {
        dc_layer_norm_row(layer, input, output);
        input += layer->length;
        output += layer->length;
    }
}

#endif
