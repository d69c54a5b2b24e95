/*
 * An output channel of a convolution with decoded weights.
 */
#ifndef DEEPCOMPRESS_KERNELS_CONV2D_CHANNEL_H
#define DEEPCOMPRESS_KERNELS_CONV2D_CHANNEL_H

#include "../dsp_steps.h"
#include "conv2d_layer.h"

/* The taps of an output channel (for DSP their number is even and not 0) and their weights' sum. */
typedef struct {
    const dc_tap *first, *end;
    int32_t total;
} dc_taps;

/* The data from which one output channel is computed. */
typedef struct {
    const dc_conv2d *layer;
    dc_taps taps;
    const int8_t *input; /* padded input of its group */
    int32_t bias, multiplier;
} dc_conv2d_channel;

#endif
