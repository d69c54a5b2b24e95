/*
 * Softmax and LogSoftmax along one axis: platformio_plugin/deepcompress/ops/softmax.py, bit for
 * bit.
 */
#ifndef DEEPCOMPRESS_KERNELS_SOFTMAX_H
#define DEEPCOMPRESS_KERNELS_SOFTMAX_H

#include <stdint.h>

#include "../requantize.h"

typedef struct {
    int32_t outer, length, inner; /* the shape around the axis; at most 2^16 values along it */
    int32_t log;                  /* whether it is LogSoftmax */
    int32_t minimum, maximum;
    int32_t factor;               /* LogSoftmax: input step / output step * 2^24 */
    int32_t log_factor;           /* LogSoftmax: ln 2 / output step * 2^8 */
    int32_t entries;              /* of the table; exponentials after its end are 0 */
    int32_t zero_point;           /* of the output */
    const uint16_t *exponentials; /* [entries], 65535 * exp(-d * input step) */
} dc_softmax;

/* 2^16 * log2(value), of a value above 0: each squaring of the mantissa gives one bit. */
DC_INLINE int32_t dc_log2(uint32_t value) {
    int32_t result = 31;
    while (value < UINT32_C(0x80000000)) {
        value <<= 1;
        --result;
    }
    for (int32_t i = 0; i < 16; ++i) {
        const uint64_t square = ((uint64_t)value * value) >> 31;
        const uint32_t bit = (uint32_t)(square >> 32);
        value = (uint32_t)(square >> bit);
        result = 2 * result + (int32_t)bit;
    }
    return result;
}

DC_INLINE uint32_t dc_softmax_exponential(const dc_softmax *layer, int32_t below) {
    return below < layer->entries ? layer->exponentials[below] : 0;
}

/* x[0], x[inner] ... -> y[0], y[inner] ...; y may be x */
DC_INLINE void dc_softmax_vector(const dc_softmax *layer, const int8_t *x, int8_t *y) {
    const int32_t end = layer->length * layer->inner;
    int32_t greatest = -128;
    uint32_t sum = 0; /* 2^16 values below 2^16 */
    for (int32_t i = 0; i < end; i += layer->inner) {
        greatest = dc_maximum(greatest, x[i]);
    }
    for (int32_t i = 0; i < end; i += layer->inner) {
        sum += dc_softmax_exponential(layer, greatest - x[i]);
    }
    const int64_t logarithm =
        layer->log
            ? (int64_t)(dc_log2(sum) - dc_log2(65535)) * layer->log_factor + ((int32_t)1 << 23)
            : 0;
    for (int32_t i = 0; i < end; i += layer->inner) {
        const int32_t below = greatest - x[i];
        int32_t value;
        if (layer->log) {
            value = -(int32_t)((logarithm + (int64_t)below * layer->factor) >> 24);
        } else {
            value = (int32_t)((256 * dc_softmax_exponential(layer, below) + sum / 2) / sum);
        }
        y[i] = (int8_t)dc_clamp(value + layer->zero_point, layer->minimum, layer->maximum);
    }
}

/* output may be input */
DC_INLINE void dc_softmax_int8(const dc_softmax *layer, const int8_t *input, int8_t *output) {
    for (int32_t outer = 0; outer < layer->outer; ++outer) {
        for (int32_t inner = 0; inner < layer->inner; ++inner) {
            dc_softmax_vector(layer, input + inner, output + inner);
        }
        input += layer->length * layer->inner;
        output += layer->length * layer->inner;
    }
}

#endif
