/*
 * Linear: output[o] = requantize(bias[o] + sum over k of weight[o][k] * (input[k] - zero_point)),
 * where the zero point is 0 if the bias has it folded in.
 *
 * All kernels: input [rows][in_features] -> output [rows][out_features]
 *
 * Accumulators fit 32 bits: the compiler refuses a layer where |bias| + 128 * sum |weight| does
 * not, and folds the zero point if subtracting it here would not fit.
 */
#ifndef DEEPCOMPRESS_KERNELS_LINEAR_H
#define DEEPCOMPRESS_KERNELS_LINEAR_H

#include "../encodings/panel.h"
#include "../encodings/sparse.h"
#include "linear_layer.h"
#include "linear_mve.h"

/* --- weights->values: int8_t [out_features][in_features] */

DC_INLINE void dc_linear_dense_row(const dc_linear *layer, const dc_weights *weights,
                                   const int8_t *input, int8_t *output) {
    const int8_t *weight = (const int8_t *)weights->values;
    for (int32_t o = 0; o < layer->out_features; ++o) {
        int32_t sum = dc_constant(&weights->bias, o);
        for (int32_t k = 0; k < layer->in_features; ++k) {
            sum += *weight++ * input[k];
        }
        output[o] =
            dc_requantize_int8(sum, dc_constant(&weights->multiplier, o), &layer->requantize);
    }
}

DC_INLINE void dc_linear_dense_c(const dc_linear *layer, const dc_weights *weights,
                                 const int8_t *input, int8_t *output) {
    int32_t row = 0;
    do {
        dc_linear_dense_row(layer, weights, input, output);
        input += layer->in_features;
        output += layer->out_features;
    } while (++row < layer->rows);
}

/* --- sparse weights: decoded again for each row */

/* Adds the products of the next output channel with x[columns] - zero_point to a sum. */
DC_INLINE int32_t dc_linear_dot(dc_encoding encoding, dc_reader *reader, int32_t columns,
                                const int8_t *x, int32_t zero_point, int32_t sum) {
    dc_weight weight;
    dc_sparse_channel(encoding, reader, columns);
    while (dc_sparse_next(encoding, reader, &weight)) {
        x += weight.gap;
        sum += weight.value * (*x++ - zero_point);
    }
    return sum;
}

DC_INLINE void dc_linear_output(const dc_linear *layer, const dc_weights *weights, int32_t o,
                                int32_t sum, int8_t *output) {
    output[o] = dc_requantize_int8(sum, dc_constant(&weights->multiplier, o), &layer->requantize);
}

/* Weight by weight, of any encoding. */
DC_INLINE void dc_linear_sparse(const dc_linear *layer, const dc_weights *weights,
                                dc_encoding encoding, const int8_t *input, int8_t *output) {
    int32_t row = 0;
    do {
        dc_reader reader;
        dc_sparse_begin(&reader, weights);
        for (int32_t o = 0; o < layer->out_features; ++o) {
            const int32_t bias = dc_constant(&weights->bias, o);
            dc_linear_output(layer, weights, o,
                             dc_linear_dot(encoding, &reader, layer->in_features, input,
                                           weights->zero_point, bias),
                             output);
        }
        input += layer->in_features;
        output += layer->out_features;
    } while (++row < layer->rows);
}

/* Four weights at a time (encodings/delta.h); the zero point is in the bias. */
DC_INLINE void dc_linear_delta_dsp(const dc_linear *layer, const dc_weights *weights,
                                   const int8_t *input, int8_t *output) {
    int32_t row = 0;
    do {
        dc_reader reader;
        dc_sparse_begin(&reader, weights);
        for (int32_t o = 0; o < layer->out_features; ++o) {
            const int32_t bias = dc_constant(&weights->bias, o);
            dc_linear_output(layer, weights, o, dc_delta_dot(&reader, input, bias), output);
        }
        input += layer->in_features;
        output += layer->out_features;
    } while (++row < layer->rows);
}

/* Four weights at a time (encodings/block.h); the zero point is in the bias. */
DC_INLINE void dc_linear_block(const dc_linear *layer, const dc_weights *weights,
                               const int8_t *input, int8_t *output) {
    int32_t row = 0;
    do {
        dc_reader reader;
        dc_sparse_begin(&reader, weights);
        for (int32_t o = 0; o < layer->out_features; ++o) {
            const int32_t bias = dc_constant(&weights->bias, o);
            dc_linear_output(layer, weights, o,
                             dc_block_dot(&reader, layer->in_features, input, bias), output);
        }
        input += layer->in_features;
        output += layer->out_features;
    } while (++row < layer->rows);
}

DC_INLINE void dc_linear_delta_c(const dc_linear *layer, const dc_weights *weights,
                                 const int8_t *input, int8_t *output) {
    dc_linear_sparse(layer, weights, DC_DELTA, input, output);
}

/* --- weights in panels (encodings/panel.h) */

DC_INLINE void dc_linear_store(const dc_linear *layer, const dc_weights *weights, int32_t o,
                               int32_t sum, int8_t *output) {
    if (o < layer->out_features) {
        output[o] =
            dc_requantize_int8(sum, dc_constant(&weights->multiplier, o), &layer->requantize);
    }
}

/* The bias, or 0 for the channel that only fills the last panel. */
DC_INLINE int32_t dc_linear_bias(const dc_linear *layer, const dc_weights *weights, int32_t o) {
    return o < layer->out_features ? dc_constant(&weights->bias, o) : 0;
}

/*
 * Output channels o to o + 3, from their panel; returns the start of the next panel. A panel has
 * the weights of each four inputs in the order 0, 2, 1, 3, in which SXTB16 unpacks the inputs.
 */
DC_INLINE const uint8_t *dc_linear_panel_four(const dc_linear *layer, const dc_weights *weights,
                                              const uint8_t *values, const int8_t *x, int32_t o,
                                              int8_t *output) {
    const int8_t *const fours = x + layer->in_features / 4 * 4;
    int32_t a = dc_linear_bias(layer, weights, o), b = dc_linear_bias(layer, weights, o + 1);
    int32_t c = dc_linear_bias(layer, weights, o + 2), d = dc_linear_bias(layer, weights, o + 3);
    if (layer->in_features / 4 % 2 != 0) {
        dc_smlad_four(&values, &x, &a, &b, &c, &d);
    }
    while (x < fours) {
        dc_smlad_four(&values, &x, &a, &b, &c, &d);
        dc_smlad_four(&values, &x, &a, &b, &c, &d);
    }
    for (int32_t rest = layer->in_features % 4; rest > 0; rest -= 2, x += 2, values += 8) {
        const uint32_t pair = dc_pair(x[0], rest > 1 ? x[1] : 0);
        dc_panel_step(dc_load_word(values), pair, &a, &b);
        dc_panel_step(dc_load_word(values + 4), pair, &c, &d);
    }
    dc_linear_store(layer, weights, o, a, output);
    dc_linear_store(layer, weights, o + 1, b, output);
    dc_linear_store(layer, weights, o + 2, c, output);
    dc_linear_store(layer, weights, o + 3, d, output);
    return values;
}

/* Output channels o and o + 1, from the last panel. */
DC_INLINE void dc_linear_panel_two(const dc_linear *layer, const dc_weights *weights,
                                   const uint8_t *values, const int8_t *x, int32_t o,
                                   int8_t *output) {
    int32_t a = dc_linear_bias(layer, weights, o), b = dc_linear_bias(layer, weights, o + 1);
    int32_t left = layer->in_features;
    for (; left >= 4; left -= 4, x += 4, values += 8) {
        const uint32_t word = dc_load_word(x);
        dc_panel_step(dc_load_word(values), dc_sxtb16(word), &a, &b);
        dc_panel_step(dc_load_word(values + 4), dc_sxtb16_ror8(word), &a, &b);
    }
    for (; left > 0; left -= 2, x += 2, values += 4) {
        dc_panel_step(dc_load_word(values), dc_pair(x[0], left > 1 ? x[1] : 0), &a, &b);
    }
    dc_linear_store(layer, weights, o, a, output);
    dc_linear_store(layer, weights, o + 1, b, output);
}

DC_INLINE void dc_linear_panel_row(const dc_linear *layer, const dc_weights *weights,
                                   const int8_t *input, int8_t *output) {
    const uint8_t *values = (const uint8_t *)weights->values;
    int32_t o = 0;
    for (; o + 2 < layer->out_features; o += 4) {
        values = dc_linear_panel_four(layer, weights, values, input, o, output);
    }
    if (o < layer->out_features) {
        dc_linear_panel_two(layer, weights, values, input, o, output);
    }
}

DC_INLINE void dc_linear_panel(const dc_linear *layer, const dc_weights *weights,
                               const int8_t *input, int8_t *output) {
    int32_t row = 0;
    do {
        dc_linear_panel_row(layer, weights, input, output);
        input += layer->in_features;
        output += layer->out_features;
    } while (++row < layer->rows);
}

/* --- for a CPU without the instructions, with the same result */

#if !DC_HAS_DSP
#define dc_linear_delta_dsp dc_linear_delta_c
#endif

#if !DC_HAS_MVE
#define dc_linear_dense_mve dc_linear_dense_c
#endif

#endif
