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

/*
 * All kernels: input [channels][height][width] -> output [out_channels][out_height][out_width]
 * scratch: layer->scratch_words, and after them a group's padded input if the kernel copies it
 *
 * A CPU without the instructions runs the following instead: the same result, with no more scratch.
 */
DC_INLINE void dc_conv2d_dense_c(const dc_conv2d *layer, const dc_weights *weights,
                                 const int8_t *input, int8_t *output, int32_t *scratch) {
    dc_conv2d_taps_c(layer, weights, DC_DENSE, input, output, scratch);
}

#if !DC_HAS_DSP
#define dc_conv2d_taps_dsp8  dc_conv2d_taps_c
#define dc_conv2d_taps_dsp16 dc_conv2d_taps_c
#endif

#if !DC_HAS_MVE
#define dc_conv2d_taps_mve12 dc_conv2d_taps_c
#define dc_conv2d_taps_mve24 dc_conv2d_taps_c
#define dc_conv2d_dense_mve  dc_conv2d_dense_c
#endif

#endif
