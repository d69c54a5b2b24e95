/*
 * Puts the last columns of earlier inputs before the input: the past that a causal convolution
 * reads.
 */
#ifndef DEEPCOMPRESS_KERNELS_HISTORY_H
#define DEEPCOMPRESS_KERNELS_HISTORY_H

#include <stdint.h>
#include <string.h>

#include "../model.h"

typedef struct {
    int32_t rows, columns, width; /* columns of earlier inputs, before the `width` of this one */
} dc_history;

/*
 * input [rows][width] -> output [rows][columns + width]
 * scratch: int8_t [rows][columns], kept from one inference to the next
 */
DC_INLINE void dc_history_int8(const dc_history *layer, const int8_t *input, int8_t *output,
                               int32_t *scratch) {
    const size_t columns = (size_t)layer->columns, width = (size_t)layer->width;
    int8_t *kept = (int8_t *)scratch;
    for (int32_t row = 0; row < layer->rows; ++row) {
        memcpy(output, kept, columns);
        memcpy(output + columns, input, width);
        memcpy(kept, output + width, columns);
        kept += columns;
        input += width;
        output += columns + width;
    }
}

#endif
