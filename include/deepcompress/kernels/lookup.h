/*
 * Functions of one value (Sigmoid, Tanh, SiLU, GELU and all others) as a table of their results.
 */
#ifndef DEEPCOMPRESS_KERNELS_LOOKUP_H
#define DEEPCOMPRESS_KERNELS_LOOKUP_H

#include <stdint.h>

#include "../model.h"

typedef struct {
    int32_t size;
    const int8_t *table; /* [256], the results of -128 .. 127 */
} dc_lookup;

/* Four at a time, so that loads are adjacent and pipelined. output may be input */
DC_INLINE void dc_lookup_int8(const dc_lookup *layer, const int8_t *input, int8_t *output) {
    const int8_t *const table = layer->table + 128;
    int32_t i = 0;
    for (; i + 4 <= layer->size; i += 4) {
        const int32_t at0 = input[i], at1 = input[i + 1], at2 = input[i + 2], at3 = input[i + 3];
        const int8_t y0 = table[at0], y1 = table[at1], y2 = table[at2], y3 = table[at3];
        output[i] = y0;
        output[i + 1] = y1;
        output[i + 2] = y2;
        output[i + 3] = y3;
    }
    for (; i < layer->size; ++i) {
        output[i] = table[input[i]];
    }
}

#endif
