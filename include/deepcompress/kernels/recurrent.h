/*
 * Shared by GRU and LSTM: platformio_plugin/deepcompress/ops/recurrent.py, bit for bit.
 *
 * Gates are in steps of 2^-12, between +-16; results of functions are in steps of 2^-15.
 */
#ifndef DEEPCOMPRESS_KERNELS_RECURRENT_H
#define DEEPCOMPRESS_KERNELS_RECURRENT_H

#include <stdint.h>
#include <string.h>

#include "../dsp.h"
#include "../encodings/sparse.h"
#include "../requantize.h"

typedef struct {
    int32_t steps, features, hidden;
    int32_t stateful; /* whether scratch has the state of the last window and is not cleared */
    int32_t last;     /* whether only the last output is wanted */
    int32_t shared;   /* whether all rows share one hidden_multiplier */
    const int16_t *hidden_multiplier; /* [units * gates] or [1] */
    const int32_t *hidden_bias;       /* [units], GRU only: of its last gate */
    dc_requantize requantize;
} dc_recurrent;

/* tanh(i / 16) * 2^15 */
static const int16_t dc_tanh_table[129] = {
    0,     2045,  4075,  6073,  8025,  9919,  11743, 13486, 15143, 16706, 18173, 19542, 20813,
    21986, 23066, 24054, 24956, 25776, 26519, 27191, 27797, 28341, 28830, 29268, 29660, 30010,
    30322, 30600, 30847, 31067, 31262, 31435, 31589, 31726, 31846, 31953, 32048, 32132, 32206,
    32271, 32329, 32381, 32426, 32466, 32501, 32532, 32560, 32584, 32606, 32625, 32642, 32657,
    32670, 32681, 32691, 32700, 32708, 32715, 32721, 32727, 32732, 32736, 32740, 32743, 32746,
    32749, 32751, 32753, 32755, 32756, 32758, 32759, 32760, 32761, 32762, 32762, 32763, 32764,
    32764, 32765, 32765, 32765, 32766, 32766, 32766, 32766, 32767, 32767, 32767, 32767, 32767,
    32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767,
    32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767,
    32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767,
};

/* |gate| <= 2^17 */
DC_SHARED int32_t dc_tanh(int32_t gate) {
    const int32_t size = dc_minimum(gate < 0 ? -gate : gate, 32767);
    const int16_t *const at = dc_tanh_table + (size >> 8);
    const int32_t value = at[0] + (((at[1] - at[0]) * (size & 255) + 128) >> 8);
    return gate < 0 ? -value : value;
}

DC_INLINE int32_t dc_sigmoid(int32_t gate) {
    return (dc_tanh(gate >> 1) + 32768) >> 1;
}

/* a * b / 2^15, rounded; the product must fit 31 bits */
DC_INLINE int32_t dc_multiply_q15(int32_t a, int32_t b) {
    return (a * b + 16384) >> 15;
}

/* The start of the next row of weights. */
typedef struct {
    dc_encoding encoding;
    const int8_t *dense;
    dc_reader reader;
} dc_recurrent_rows;

DC_INLINE void dc_recurrent_begin(dc_recurrent_rows *rows, const dc_weights *weights,
                                  dc_encoding encoding) {
    rows->encoding = encoding;
    rows->dense = (const int8_t *)weights->values;
    dc_sparse_begin(&rows->reader, weights);
}

/* A gate's two sums: over the input, and over the last output. */
typedef struct {
    int32_t of_input, of_hidden;
} dc_gate;

/* Adds the products of `count` weights with x to a sum. */
DC_INLINE int32_t dc_recurrent_dense(const int8_t *weight, const int8_t *x, int32_t count,
                                     int32_t sum) {
    for (; DC_HAS_DSP && count >= 4; count -= 4, weight += 4, x += 4) {
        sum = dc_dot_four(dc_load_word(weight), dc_load_word(x), sum);
    }
    for (; count > 0; --count) {
        sum += *weight++ * *x++;
    }
    return sum;
}

/* Adds the next row's products with x[features] and h[hidden] to sums. */
DC_INLINE void dc_recurrent_dot(const dc_recurrent *layer, dc_encoding encoding,
                                dc_recurrent_rows *rows, const int8_t *x, const int8_t *h,
                                dc_gate *sums) {
    if (encoding == DC_DENSE) {
        const int8_t *const over_last = rows->dense + layer->features;
        sums->of_input = dc_recurrent_dense(rows->dense, x, layer->features, sums->of_input);
        sums->of_hidden = dc_recurrent_dense(over_last, h, layer->hidden, sums->of_hidden);
        rows->dense = over_last + layer->hidden;
        return;
    }
    dc_weight weight;
    int32_t column = -1;
    dc_sparse_channel(encoding, &rows->reader, layer->features + layer->hidden);
    while (dc_sparse_next(encoding, &rows->reader, &weight)) {
        column += weight.gap + 1;
        if (column < layer->features) {
            sums->of_input += weight.value * x[column];
        } else {
            sums->of_hidden += weight.value * h[column - layer->features];
        }
    }
}

DC_INLINE int32_t dc_recurrent_scale(int32_t sum, int32_t multiplier, int32_t shift) {
    const int64_t gate = ((int64_t)sum * multiplier + ((int64_t)1 << (shift - 1))) >> shift;
    return gate > 65535 ? 65535 : gate < -65535 ? -65535 : (int32_t)gate;
}

/* The `count` gates of the next unit; the last gate's sum over the last output may have a bias. */
DC_INLINE void dc_recurrent_gates(const dc_recurrent *layer, const dc_weights *weights,
                                  dc_recurrent_rows *rows, int32_t unit, int32_t count,
                                  const int8_t *x, const int8_t *h, dc_gate *gates) {
    const int32_t shift = layer->requantize.shift;
    for (int32_t i = 0; i < count; ++i) {
        const int32_t row = count * unit + i;
        const int32_t by = layer->hidden_multiplier[layer->shared ? 0 : row];
        dc_gate sums = {dc_constant(&weights->bias, row), 0};
        if (layer->hidden_bias && i + 1 == count) {
            sums.of_hidden = layer->hidden_bias[unit];
        }
        dc_recurrent_dot(layer, rows->encoding, rows, x, h, &sums);
        gates[i].of_input =
            dc_recurrent_scale(sums.of_input, dc_constant(&weights->multiplier, row), shift);
        gates[i].of_hidden = dc_recurrent_scale(sums.of_hidden, by, shift);
    }
}

/* An output of 2^-15 as int8 in steps of 2^-7. */
DC_INLINE int8_t dc_recurrent_int8(int32_t value) {
    return (int8_t)dc_clamp((value + 128) >> 8, -128, 127);
}

/* Copies `next` to the last output, and writes it after the activation function if requested. */
DC_INLINE int8_t *dc_recurrent_finish(const dc_recurrent *layer, int32_t step, const int8_t *next,
                                      int8_t *hidden, int8_t *output) {
    memcpy(hidden, next, (size_t)layer->hidden);
    if (layer->last && step + 1 < layer->steps) {
        return output;
    }
    for (int32_t unit = 0; unit < layer->hidden; ++unit) {
        *output++ =
            (int8_t)dc_clamp(next[unit], layer->requantize.minimum, layer->requantize.maximum);
    }
    return output;
}

#endif
