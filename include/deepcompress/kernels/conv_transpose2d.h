/*
 * ConvTranspose2d, dense and sparse.
 *
 *   sum[iy * stride + ky * dilation][ix * stride + kx * dilation] +=
 *       weight[o][i][ky][kx] * (input[i][iy][ix] - zero_point)
 *   output[o][y][x] = requantize(bias[o] + sum[y + pad_top][x + pad_left])
 *
 * Each weight in turn adds its products to the accumulators of one output channel, so that a sparse
 * layer is decoded once, in order, and no inserted zero is multiplied.
 *
 * Accumulators fit 32 bits: the compiler refuses a layer where |bias| + 255 * sum |weight| does
 * not.
 */
#ifndef DEEPCOMPRESS_KERNELS_CONV_TRANSPOSE2D_H
#define DEEPCOMPRESS_KERNELS_CONV_TRANSPOSE2D_H

#include <stdint.h>
#include <string.h>

#include "../encodings/sparse.h"
#include "../requantize.h"

typedef struct {
    int32_t in_channels, in_height, in_width; /* in_channels of one group */
    int32_t out_channels, out_height, out_width;
    int32_t groups;
    int32_t kernel_height, kernel_width;
    int32_t stride_height, stride_width;
    int32_t dilation_height, dilation_width;
    int32_t pad_top, pad_left;         /* rows and columns of the accumulators that are cut off */
    int32_t plane_height, plane_width; /* of the accumulators */
    int32_t zero_point;                /* of the input */
    dc_requantize requantize;
} dc_conv_transpose2d;

/* Adds a weight's products with x[in_height][in_width]; `sum`: accumulator of the first one. */
DC_INLINE void dc_conv_transpose2d_add(const dc_conv_transpose2d *layer, int32_t weight,
                                       const int8_t *x, int32_t *sum) {
    const int32_t apart = layer->stride_width;
    for (int32_t y = 0; y < layer->in_height; ++y) {
        int32_t *at = sum;
        int32_t left = layer->in_width;
        for (; left >= 4; left -= 4, x += 4, at += 4 * apart) {
            at[0] += weight * (x[0] - layer->zero_point);
            at[apart] += weight * (x[1] - layer->zero_point);
            at[2 * apart] += weight * (x[2] - layer->zero_point);
            at[3 * apart] += weight * (x[3] - layer->zero_point);
        }
        for (; left > 0; --left, at += apart) {
            *at += weight * (*x++ - layer->zero_point);
        }
        sum += layer->stride_height * layer->plane_width;
    }
}

/* The same for the weights of four channels, at a distance of `size`: one read and write for four.
 */
DC_INLINE void dc_conv_transpose2d_add4(const dc_conv_transpose2d *layer, const int8_t *weight,
                                        int32_t size, const int8_t *x, int32_t *sum) {
    const int32_t weight0 = weight[0], weight1 = weight[size];
    const int32_t weight2 = weight[2 * size], weight3 = weight[3 * size];
    const int32_t zeros = -layer->zero_point * (weight0 + weight1 + weight2 + weight3);
    const int32_t plane = layer->in_height * layer->in_width;
    for (int32_t y = 0; y < layer->in_height; ++y) {
        for (int32_t i = 0; i < layer->in_width; ++i, ++x) {
            const int32_t x0 = x[0], x1 = x[plane], x2 = x[2 * plane], x3 = x[3 * plane];
            sum[i * layer->stride_width] +=
                weight0 * x0 + weight1 * x1 + weight2 * x2 + weight3 * x3 + zeros;
        }
        sum += layer->stride_height * layer->plane_width;
    }
}

/* The accumulator of the first product of a kernel's weight at (ky, kx). */
DC_INLINE int32_t *dc_conv_transpose2d_at(const dc_conv_transpose2d *layer, int32_t ky, int32_t kx,
                                          int32_t *sum) {
    return sum + ky * layer->dilation_height * layer->plane_width + kx * layer->dilation_width;
}

/* All weights of the reader's next output channel; returns their sum. */
DC_INLINE int32_t dc_conv_transpose2d_sparse_channel(const dc_conv_transpose2d *layer,
                                                     dc_encoding encoding, dc_reader *reader,
                                                     const int8_t *input, int32_t *sum) {
    const int32_t plane = layer->in_height * layer->in_width;
    int32_t ky = 0, kx = -1, total = 0;
    dc_weight weight;
    dc_sparse_channel(encoding, reader,
                      layer->in_channels * layer->kernel_height * layer->kernel_width);
    while (dc_sparse_next(encoding, reader, &weight)) {
        kx += weight.gap + 1;
        while (kx >= layer->kernel_width) {
            kx -= layer->kernel_width;
            if (++ky == layer->kernel_height) {
                ky = 0;
                input += plane;
            }
        }
        if (weight.value != 0) {
            dc_conv_transpose2d_add(layer, weight.value, input,
                                    dc_conv_transpose2d_at(layer, ky, kx, sum));
            total += weight.value;
        }
    }
    return total;
}

/* weight: int8_t [in_channels][kernel_height][kernel_width] */
DC_INLINE int32_t dc_conv_transpose2d_dense_channel(const dc_conv_transpose2d *layer,
                                                    const int8_t *weight, const int8_t *input,
                                                    int32_t *sum) {
    const int32_t size = layer->kernel_height * layer->kernel_width;
    const int32_t plane = layer->in_height * layer->in_width;
    int32_t total = 0;
    for (int32_t i = 0; i < layer->in_channels * size; ++i) {
        total += weight[i];
    }
    for (int32_t k = 0; k < size; ++k, ++weight) {
        int32_t *const at =
            dc_conv_transpose2d_at(layer, k / layer->kernel_width, k % layer->kernel_width, sum);
        int32_t channel = 0;
        for (; channel + 4 <= layer->in_channels; channel += 4) {
            dc_conv_transpose2d_add4(layer, weight + channel * size, size, input + channel * plane,
                                     at);
        }
        for (; channel < layer->in_channels; ++channel) {
            dc_conv_transpose2d_add(layer, weight[channel * size], input + channel * plane, at);
        }
    }
    return total;
}

/* One output channel from its accumulators. */
DC_INLINE int8_t *dc_conv_transpose2d_output(const dc_conv_transpose2d *layer, int32_t bias,
                                             int32_t multiplier, const int32_t *sum,
                                             int8_t *output) {
    sum += layer->pad_top * layer->plane_width + layer->pad_left;
    for (int32_t y = 0; y < layer->out_height; ++y, sum += layer->plane_width) {
        for (int32_t x = 0; x < layer->out_width; ++x) {
            *output++ = dc_requantize_int8(bias + sum[x], multiplier, &layer->requantize);
        }
    }
    return output;
}

/* The input of an output channel: that of its group. */
DC_INLINE const int8_t *dc_conv_transpose2d_group(const dc_conv_transpose2d *layer, int32_t channel,
                                                  const int8_t *input) {
    const int32_t group = layer->in_channels * layer->in_height * layer->in_width;
    return input + channel / (layer->out_channels / layer->groups) * group;
}

DC_INLINE size_t dc_conv_transpose2d_scratch(const dc_conv_transpose2d *layer) {
    return (size_t)(layer->plane_height * layer->plane_width) * sizeof(int32_t);
}

/*
 * The bias of an output channel whose weights have the sum `total`. An output uses only some of the
 * weights, so the share of the other weights in a folded bias is added again.
 */
DC_INLINE int32_t dc_conv_transpose2d_bias(const dc_conv_transpose2d *layer,
                                           const dc_weights *weights, int32_t channel,
                                           int32_t total) {
    return dc_constant(&weights->bias, channel) + (layer->zero_point - weights->zero_point) * total;
}

/*
 * Both kernels: input [channels][in_height][in_width] -> output
 * [out_channels][out_height][out_width] scratch: [plane_height][plane_width], the accumulators of
 * one output channel
 */
DC_INLINE void dc_conv_transpose2d_dense(const dc_conv_transpose2d *layer,
                                         const dc_weights *weights, const int8_t *input,
                                         int8_t *output, int32_t *scratch) {
    const int32_t row = layer->in_channels * layer->kernel_height * layer->kernel_width;
    const int8_t *weight = (const int8_t *)weights->values;
    for (int32_t o = 0; o < layer->out_channels; ++o, weight += row) {
        const int8_t *const x = dc_conv_transpose2d_group(layer, o, input);
        memset(scratch, 0, dc_conv_transpose2d_scratch(layer));
        const int32_t total = dc_conv_transpose2d_dense_channel(layer, weight, x, scratch);
        output =
            dc_conv_transpose2d_output(layer, dc_conv_transpose2d_bias(layer, weights, o, total),
                                       dc_constant(&weights->multiplier, o), scratch, output);
    }
}

DC_INLINE void dc_conv_transpose2d_sparse(const dc_conv_transpose2d *layer,
                                          const dc_weights *weights, dc_encoding encoding,
                                          const int8_t *input, int8_t *output, int32_t *scratch) {
    dc_reader reader;
    dc_sparse_begin(&reader, weights);
    for (int32_t o = 0; o < layer->out_channels; ++o) {
        const int8_t *const x = dc_conv_transpose2d_group(layer, o, input);
        memset(scratch, 0, dc_conv_transpose2d_scratch(layer));
        const int32_t total =
            dc_conv_transpose2d_sparse_channel(layer, encoding, &reader, x, scratch);
        output =
            dc_conv_transpose2d_output(layer, dc_conv_transpose2d_bias(layer, weights, o, total),
                                       dc_constant(&weights->multiplier, o), scratch, output);
    }
}

#endif
