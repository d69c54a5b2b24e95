/*
 * Strided copies: permutations, slices, pixel shuffles, nearest upsampling, repetitions.
 */
#ifndef DEEPCOMPRESS_KERNELS_REARRANGE_H
#define DEEPCOMPRESS_KERNELS_REARRANGE_H

#include <stdint.h>
#include <string.h>

#include "../requantize.h"

typedef struct {
    int32_t offset;  /* of the first value */
    int32_t size[5]; /* of nested loops, the outermost first */
    int32_t step[5]; /* in the input, per iteration of each loop */
} dc_rearrange;

/* The innermost loop; returns the address after its last output. */
DC_INLINE int8_t *dc_rearrange_row(const dc_rearrange *layer, const int8_t *x, int8_t *output) {
    const int32_t size = layer->size[4];
    if (layer->step[4] == 1) {
        memcpy(output, x, (size_t)size);
    } else if (layer->step[4] == 0) {
        memset(output, *x, (size_t)size);
    } else {
        for (int32_t i = 0; i < size; ++i, x += layer->step[4]) {
            output[i] = *x;
        }
    }
    return output + size;
}

/* output [size[0]] ... [size[4]] */
DC_INLINE void dc_rearrange_int8(const dc_rearrange *layer, const int8_t *input, int8_t *output) {
    const int8_t *a = input + layer->offset;
    for (int32_t i = 0; i < layer->size[0]; ++i, a += layer->step[0]) {
        const int8_t *b = a;
        for (int32_t j = 0; j < layer->size[1]; ++j, b += layer->step[1]) {
            const int8_t *c = b;
            for (int32_t k = 0; k < layer->size[2]; ++k, c += layer->step[2]) {
                const int8_t *d = c;
                for (int32_t l = 0; l < layer->size[3]; ++l, d += layer->step[3]) {
                    output = dc_rearrange_row(layer, d, output);
                }
            }
        }
    }
}

#endif
