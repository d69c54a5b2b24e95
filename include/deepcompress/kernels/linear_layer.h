/*
 * The shape of a linear layer, which all ways to compute it share.
 */
#ifndef DEEPCOMPRESS_KERNELS_LINEAR_LAYER_H
#define DEEPCOMPRESS_KERNELS_LINEAR_LAYER_H

#include <stdint.h>

#include "../requantize.h"
#include "../weights.h"

typedef struct {
    int32_t rows; /* vectors that are multiplied, one after the other */
    int32_t in_features;
    int32_t out_features;
    dc_requantize requantize;
} dc_linear;

#endif
