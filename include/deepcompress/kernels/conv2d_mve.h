/*
 * A dense convolution of one group with vectors: the windows of four positions are copied to
 * columns (im2col, for only four positions). The weights of each output channel are multiplied with
 * them, sixteen at a time.
 *
 * Scratch: four columns, 4 * in_channels * kernel_height * kernel_width bytes. 0.16 instructions
 * per product, 1 per value of a column, 4 per output.
 */
#ifndef DEEPCOMPRESS_KERNELS_CONV2D_MVE_H
#define DEEPCOMPRESS_KERNELS_CONV2D_MVE_H

#include "../mve.h"
#include "conv2d_layer.h"

#if DC_HAS_MVE

/* Four positions of the convolution, and where their results are stored. */
typedef struct {
    uint32_t window[4]; /* first inputs of their windows */
    int32_t output;     /* position of the first result in an output channel */
    int32_t pools;      /* whether the output becomes the maximum of itself and the result */
} dc_conv2d_quad;

/* The windows of four positions -> columns [4][in_channels][kernel_height][kernel_width] */
DC_INLINE void dc_conv2d_columns_mve(const dc_conv2d *layer, const int8_t *padded,
                                     const dc_conv2d_quad *quad, int8_t *columns) {
    const int32_t size = layer->in_channels * layer->kernel_height * layer->kernel_width;
    const uint32x4_t windows = vldrwq_u32(quad->window);
    const uint32x4_t apart = vmulq_n_u32(vidupq_n_u32(0, 1), (uint32_t)size);
    for (int32_t channel = 0; channel < layer->in_channels; ++channel) {
        for (int32_t ky = 0; ky < layer->kernel_height; ++ky) {
            const int8_t *const row =
                padded +
                (channel * layer->in_height + ky * layer->dilation_height) * layer->in_width;
            DC_UNROLL(8)
            for (int32_t kx = 0; kx < layer->kernel_width; ++kx) {
                const int8_t *const x = row + kx * layer->dilation_width;
                vstrbq_scatter_offset_s32(columns++, apart, vldrbq_gather_offset_s32(x, windows));
            }
        }
    }
}

/* Stores four results of an output channel, or with pooling the greatest of them. */
DC_INLINE void dc_conv2d_store_mve(const dc_conv2d *layer, const dc_conv2d_quad *quad,
                                   int32x4_t sums, int32_t multiplier, int8_t *output) {
    if (!layer->pooled) {
        dc_store_four(output, dc_requantize_four(sums, vdupq_n_s32(multiplier), &layer->requantize),
                      layer->out_height * layer->out_width);
        return;
    }
    const int8_t result =
        dc_requantize_int8(vmaxvq_s32(INT32_MIN, sums), multiplier, &layer->requantize);
    *output = quad->pools && *output > result ? *output : result;
}

/* All output channels at four positions. weights->values: int8_t [out_channels][columns] */
DC_INLINE void dc_conv2d_quad_mve(const dc_conv2d *layer, const dc_weights *weights,
                                  const int8_t *padded, const dc_conv2d_quad *quad, int8_t *columns,
                                  int8_t *output) {
    const int32_t size = layer->in_channels * layer->kernel_height * layer->kernel_width;
    const int8_t *weight = (const int8_t *)weights->values;
    dc_conv2d_columns_mve(layer, padded, quad, columns);
    output += quad->output;
    for (int32_t o = 0; o < layer->out_channels; ++o, weight += size) {
        const int32x4_t sums =
            vaddq_n_s32(dc_dot_by_four(weight, columns, columns + size, columns + 2 * size,
                                       columns + 3 * size, size),
                        dc_constant(&weights->bias, o));
        dc_conv2d_store_mve(layer, quad, sums, dc_constant(&weights->multiplier, o), output);
        output += layer->out_height * layer->out_width;
    }
}

/* The first input of the window of position (y, x). */
DC_INLINE uint32_t dc_conv2d_window(const dc_conv2d *layer, uint32_t y, uint32_t x) {
    return y * (uint32_t)(layer->stride_height * layer->in_width) +
           x * (uint32_t)layer->stride_width;
}

/* Positions in the order of the output, four at a time; the last four end with the output. */
DC_INLINE void dc_conv2d_plane_mve(const dc_conv2d *layer, const dc_weights *weights,
                                   const int8_t *padded, int8_t *columns, int8_t *output) {
    const int32_t count = layer->out_height * layer->out_width;
    const uint32_t width = (uint32_t)layer->out_width;
    for (int32_t done = 0; done < count; done += 4) {
        dc_conv2d_quad quad = {{0, 0, 0, 0}, dc_maximum(dc_minimum(done, count - 4), 0), 0};
        for (int32_t i = 0; i < 4; ++i) {
            const uint32_t at = (uint32_t)dc_minimum(quad.output + i, count - 1);
            quad.window[i] = dc_conv2d_window(layer, at / width, at % width);
        }
        dc_conv2d_quad_mve(layer, weights, padded, &quad, columns, output);
    }
}

/* The positions of each pooling window, four at a time; the last one is repeated to fill four. */
DC_INLINE void dc_conv2d_pooled_mve(const dc_conv2d *layer, const dc_weights *weights,
                                    const int8_t *padded, int8_t *columns, int8_t *output) {
    const int32_t size = layer->pool_height * layer->pool_width;
    const uint32_t width = (uint32_t)layer->pool_width;
    for (int32_t place = 0; place < layer->out_height * layer->out_width; ++place) {
        const int32_t top = place / layer->out_width * layer->pool_stride_height;
        const int32_t left = place % layer->out_width * layer->pool_stride_width;
        for (int32_t done = 0; done < size; done += 4) {
            dc_conv2d_quad quad = {{0, 0, 0, 0}, place, done > 0};
            for (int32_t i = 0; i < 4; ++i) {
                const uint32_t at = (uint32_t)dc_minimum(done + i, size - 1);
                quad.window[i] = dc_conv2d_window(layer, (uint32_t)top + at / width,
                                                  (uint32_t)left + at % width);
            }
            dc_conv2d_quad_mve(layer, weights, padded, &quad, columns, output);
        }
    }
}

/* input [in_channels][height][width] -> output [out_channels][out_height][out_width] */
DC_INLINE void dc_conv2d_dense_mve(const dc_conv2d *layer, const dc_weights *weights,
                                   const int8_t *input, int8_t *output, int32_t *scratch) {
    const int8_t *const padded = dc_conv2d_pad(layer, input, scratch, 0);
    if (layer->pooled) {
        dc_conv2d_pooled_mve(layer, weights, padded, (int8_t *)scratch, output);
    } else {
        dc_conv2d_plane_mve(layer, weights, padded, (int8_t *)scratch, output);
    }
}

#endif

#endif
