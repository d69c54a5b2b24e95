/*
 * The shape of a linear layer, shared by all of its kernels.
 */
#ifndef DEEPCOMPRESS_KERNELS_LINEAR_LAYER_H
#define DEEPCOMPRESS_KERNELS_LINEAR_LAYER_H

#include <stdint.h>

#include "../requantize.h"
#include "../weights.h"

typedef struct {
    int32_t rows; /* number of input vectors, multiplied one after another */
    int32_t in_features;
    int32_t out_features;
    dc_requantize requantize;
} dc_linear;

#endif
