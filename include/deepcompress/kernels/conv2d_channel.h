/*
 * An output channel of a convolution, its weights decoded.
 */
#ifndef DEEPCOMPRESS_KERNELS_CONV2D_CHANNEL_H
#define DEEPCOMPRESS_KERNELS_CONV2D_CHANNEL_H

#include "../dsp_steps.h"
#include "conv2d_layer.h"

/* The taps of an output channel, for DSP an even number and not 0, and the sum of their weights. */
typedef struct {
    const dc_tap *first, *end;
    int32_t total;
} dc_taps;

/* What makes one output channel. */
typedef struct {
    const dc_conv2d *layer;
    dc_taps taps;
    const int8_t *input; /* of its group, padded */
    int32_t bias, multiplier;
} dc_conv2d_channel;

#endif
