/*
 * LSTM, dense and sparse: platformio_plugin/deepcompress/ops/lstm.py, bit for bit.
 */
#ifndef DEEPCOMPRESS_KERNELS_LSTM_H
#define DEEPCOMPRESS_KERNELS_LSTM_H

#include "recurrent.h"

typedef dc_recurrent dc_lstm;

DC_INLINE int32_t dc_lstm_both(dc_gate gate) {
    return gate.of_input + gate.of_hidden;
}

/* A unit's next cell, computed from its last cell, and its output. */
DC_INLINE int8_t dc_lstm_unit(const dc_lstm *layer, const dc_weights *weights,
                              dc_recurrent_rows *rows, int32_t unit, const int8_t *x,
                              const int8_t *h, int32_t *cell) {
    const int32_t limit = (int32_t)1 << 30;
    dc_gate gates[4]; /* enter, forget, fresh, leave */
    dc_recurrent_gates(layer, weights, rows, unit, 4, x, h, gates);
    const int32_t enter = dc_sigmoid(dc_lstm_both(gates[0]));
    const int32_t forget = dc_sigmoid(dc_lstm_both(gates[1]));
    const int32_t fresh = dc_tanh(dc_lstm_both(gates[2]));
    const int32_t leave = dc_sigmoid(dc_lstm_both(gates[3]));
    /* |cell| <= 2^30, and the quotient is at most 2^30 + 2^15 */
    const int64_t products = (int64_t)forget * *cell + enter * fresh + 16384;
    *cell = dc_clamp((int32_t)(products >> 15), -limit, limit);
    const int32_t seen = dc_clamp((*cell + 4) >> 3, -32767, 32767);
    return dc_recurrent_int8(dc_multiply_q15(leave, dc_tanh(seen)));
}

/*
 * input [steps][features] -> output [steps][hidden], or [hidden] if only the last is wanted
 * scratch: int32_t cell[hidden], int8_t last output[hidden], int8_t next output[hidden]
 */
DC_INLINE void dc_lstm_int8(const dc_lstm *layer, const dc_weights *weights, dc_encoding encoding,
                            const int8_t *input, int8_t *output, int32_t *scratch) {
    int8_t *const hidden = (int8_t *)(scratch + layer->hidden);
    int8_t *const next = hidden + layer->hidden;
    if (!layer->stateful) {
        memset(scratch, 0, (size_t)(5 * layer->hidden));
    }
    for (int32_t step = 0; step < layer->steps; ++step, input += layer->features) {
        dc_recurrent_rows rows;
        dc_recurrent_begin(&rows, weights, encoding);
        for (int32_t unit = 0; unit < layer->hidden; ++unit) {
            next[unit] = dc_lstm_unit(layer, weights, &rows, unit, input, hidden, scratch + unit);
        }
        output = dc_recurrent_finish(layer, step, next, hidden, output);
    }
}

#endif
