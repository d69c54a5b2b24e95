/*
 * Concatenation, if the layers before it could not write the parts to their final addresses.
 */
#ifndef DEEPCOMPRESS_KERNELS_CONCAT_H
#define DEEPCOMPRESS_KERNELS_CONCAT_H

#include <stdint.h>
#include <string.h>

#include "../requantize.h"

typedef struct {
    int32_t rows, parts;
    const int32_t *sizes; /* [parts], values of each input in a row */
} dc_concat;

/* inputs [parts][rows][size of the part] -> output [rows][sum of sizes] */
DC_INLINE void dc_concat_int8(const dc_concat *layer, const int8_t *const *inputs, int8_t *output) {
    for (int32_t row = 0; row < layer->rows; ++row) {
        for (int32_t part = 0; part < layer->parts; ++part) {
            const int32_t size = layer->sizes[part];
            memcpy(output, inputs[part] + row * size, (size_t)size);
            output += size;
        }
    }
}

#endif
