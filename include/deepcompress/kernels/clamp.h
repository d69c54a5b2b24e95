/*
 * ReLU, ReLU6, Hardtanh and clamp, if they are not fused into the kernel before them.
 */
#ifndef DEEPCOMPRESS_KERNELS_CLAMP_H
#define DEEPCOMPRESS_KERNELS_CLAMP_H

#include <stdint.h>

#include "../requantize.h"

typedef struct {
    int32_t size, minimum, maximum;
} dc_clamp_layer;

/* output may be input */
DC_INLINE void dc_clamp_int8(const dc_clamp_layer *layer, const int8_t *input, int8_t *output) {
    for (int32_t i = 0; i < layer->size; ++i) {
        output[i] = (int8_t)dc_clamp(input[i], layer->minimum, layer->maximum);
    }
}

#endif
