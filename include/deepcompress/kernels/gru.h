/*
 * GRU, dense and sparse: platformio_plugin/deepcompress/ops/gru.py, bit for bit.
 */
#ifndef DEEPCOMPRESS_KERNELS_GRU_H
#define DEEPCOMPRESS_KERNELS_GRU_H

#include "recurrent.h"

typedef dc_recurrent dc_gru;

/* A unit's next state, computed from its last state. */
DC_INLINE int32_t dc_gru_unit(const dc_gru *layer, const dc_weights *weights,
                              dc_recurrent_rows *rows, int32_t unit, const int8_t *x,
                              const int8_t *h, int32_t state) {
    dc_gate gates[3]; /* reset, update, fresh */
    dc_recurrent_gates(layer, weights, rows, unit, 3, x, h, gates);
    const int32_t reset = dc_sigmoid(gates[0].of_input + gates[0].of_hidden);
    const int32_t update = dc_sigmoid(gates[1].of_input + gates[1].of_hidden);
    const int32_t fresh = dc_tanh(gates[2].of_input + dc_multiply_q15(reset, gates[2].of_hidden));
    return fresh + dc_multiply_q15(update, state - fresh);
}

/*
 * input [steps][features] -> output [steps][hidden], or [hidden] if only the last is wanted
 * scratch: int16_t state[hidden], int8_t last output[hidden], int8_t next output[hidden]
 */
DC_INLINE void dc_gru_int8(const dc_gru *layer, const dc_weights *weights, dc_encoding encoding,
                           const int8_t *input, int8_t *output, int32_t *scratch) {
    int16_t *const state = (int16_t *)(void *)scratch;
    int8_t *const hidden = (int8_t *)(state + layer->hidden), *const next = hidden + layer->hidden;
    if (!layer->stateful) {
        memset(scratch, 0, (size_t)(3 * layer->hidden));
    }
    for (int32_t step = 0; step < layer->steps; ++step, input += layer->features) {
        dc_recurrent_rows rows;
        dc_recurrent_begin(&rows, weights, encoding);
        for (int32_t unit = 0; unit < layer->hidden; ++unit) {
            state[unit] =
                (int16_t)dc_gru_unit(layer, weights, &rows, unit, input, hidden, state[unit]);
            next[unit] = dc_recurrent_int8(state[unit]);
        }
        output = dc_recurrent_finish(layer, step, next, hidden, output);
    }
}

#endif
