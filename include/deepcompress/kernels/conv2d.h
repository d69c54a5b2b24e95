/*
 * Conv2d, dense and sparse, with requantization, activation and max-pooling fused on the
 * accumulators: the convolution's own output never exists in memory.
 *
 *   output[o][y][x] = requantize(max over the pooling window of
 *                                bias[o] + sum over i, ky, kx of weight[o][i][ky][kx] *
 *                                input[i][y * stride - pad + ky * dilation][...])
 *
 * Accumulators fit 32 bits: the compiler refuses a layer where |bias| + 128 * sum |weight| does
 * not.
 */
#ifndef DEEPCOMPRESS_KERNELS_CONV2D_H
#define DEEPCOMPRESS_KERNELS_CONV2D_H

#include "conv2d_layer.h"
#include "conv2d_mve.h"
#include "conv2d_panel.h"
#include "conv2d_taps.h"

/* The dense convolution of one group. */
#if DC_HAS_MVE
#define dc_conv2d_dense dc_conv2d_dense_mve
#else
#define dc_conv2d_dense dc_conv2d_taps
#endif

/*
 * input [channels][height][width] -> output [out_channels][out_height][out_width]
 * scratch: layer->scratch_words, and behind them room for a group's padded input if it is copied
 */
DC_INLINE void dc_conv2d_int8(const dc_conv2d *layer, const dc_weights *weights,
                              const int8_t *input, int8_t *output, int32_t *scratch) {
    if (weights->encoding == DC_PANEL) {
        dc_conv2d_panel(layer, weights, input, output, (uint32_t *)scratch);
    } else if (weights->encoding == DC_DENSE && layer->groups == 1) {
        dc_conv2d_dense(layer, weights, input, output, scratch);
    } else {
        dc_conv2d_taps(layer, weights, input, output, scratch);
    }
}

#endif
