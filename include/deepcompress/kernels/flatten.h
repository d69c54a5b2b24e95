/*
 * A change of shape, used only if the network's output would otherwise be its input.
 */
#ifndef DEEPCOMPRESS_KERNELS_FLATTEN_H
#define DEEPCOMPRESS_KERNELS_FLATTEN_H

#include <stdint.h>
#include <string.h>

#include "../requantize.h"

typedef struct {
    int32_t size;
} dc_flatten;

DC_INLINE void dc_flatten_int8(const dc_flatten *layer, const int8_t *input, int8_t *output) {
    memcpy(output, input, (size_t)layer->size);
}

#endif
