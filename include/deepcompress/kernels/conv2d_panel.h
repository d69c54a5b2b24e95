/*
 * A dense convolution of one group, two positions and four output channels at a time: the inputs of
 * the two positions are copied to columns of int16 (im2col, for only two positions). All channels'
 * weights are multiplied with them in pairs. The columns include the padding, so the input is not
 * copied for it.
 *
 * Weights are in panels (../encodings/panel.h). Scratch: two columns,
 * 4 * in_channels * kernel_height * kernel_width bytes, rounded up to 8. Cycles on Cortex-M4: 1.25
 * per product, 5 per value of a column, 8 per output.
 */
#ifndef DEEPCOMPRESS_KERNELS_CONV2D_PANEL_H
#define DEEPCOMPRESS_KERNELS_CONV2D_PANEL_H

#include "../encodings/panel.h"
#include "conv2d_layer.h"

/* Two positions of the convolution, and where their results are stored. */
typedef struct {
    int32_t y[2], x[2];
    int32_t output[2]; /* offsets of the results in an output channel */
    int32_t pools;     /* whether the output becomes the maximum of itself and the result */
} dc_conv2d_positions;

DC_INLINE int32_t dc_conv2d_columns(const dc_conv2d *layer) {
    return layer->in_channels * layer->kernel_height * layer->kernel_width;
}

/* One row of a window that is inside the input, as int16. */
DC_INLINE int16_t *dc_conv2d_inner_row(const dc_conv2d *layer, const int8_t *row, int16_t *column) {
    DC_UNROLL(8)
    for (int32_t kx = 0; kx < layer->kernel_width; ++kx) {
        *column++ = row[kx * layer->dilation_width];
    }
    return column;
}

/* One row of a window that begins at `left`; `row` is NULL if all of it is padding. */
DC_INLINE int16_t *dc_conv2d_border_row(const dc_conv2d *layer, const int8_t *row, int32_t left,
                                        int32_t width, int16_t *column) {
    for (int32_t kx = 0; kx < layer->kernel_width; ++kx) {
        const int32_t x = left + kx * layer->dilation_width;
        const int32_t inside = row != (const int8_t *)0 && x >= 0 && x < width;
        *column++ = (int16_t)(inside ? row[x] : layer->pad_value);
    }
    return column;
}

/* The inputs of the window of position (y, x): in_channels, kernel_height, kernel_width. */
DC_INLINE void dc_conv2d_column(const dc_conv2d *layer, const int8_t *input, int32_t y, int32_t x,
                                int16_t *column) {
    const int32_t height = layer->in_height - layer->pad_top - layer->pad_bottom;
    const int32_t width = layer->in_width - layer->pad_left - layer->pad_right;
    const int32_t top = y * layer->stride_height - layer->pad_top;
    const int32_t left = x * layer->stride_width - layer->pad_left;
    const int32_t bottom = top + (layer->kernel_height - 1) * layer->dilation_height;
    const int32_t right = left + (layer->kernel_width - 1) * layer->dilation_width;
    const int32_t inside =
        !layer->padded || (top >= 0 && left >= 0 && bottom < height && right < width);
    for (int32_t channel = 0; channel < layer->in_channels; ++channel, input += height * width) {
        for (int32_t ky = 0; ky < layer->kernel_height; ++ky) {
            const int32_t row = top + ky * layer->dilation_height;
            if (inside) {
                column = dc_conv2d_inner_row(layer, input + row * width + left, column);
            } else {
                const int32_t none = row < 0 || row >= height;
                column = dc_conv2d_border_row(layer, none ? (const int8_t *)0 : input + row * width,
                                              left, width, column);
            }
        }
    }
    if (dc_conv2d_columns(layer) % 2 != 0) {
        *column = 0;
    }
}

/* The bias, or 0 for the channel that only fills the last panel. */
DC_INLINE int32_t dc_conv2d_bias(const dc_conv2d *layer, const dc_weights *weights,
                                 int32_t channel) {
    return channel < layer->out_channels ? dc_constant(&weights->bias, channel) : 0;
}

DC_INLINE void dc_conv2d_panel_store(const dc_conv2d *layer, const dc_weights *weights,
                                     int32_t channel, const int32_t *sum,
                                     const dc_conv2d_positions *positions, int8_t *output) {
    if (channel >= layer->out_channels) {
        return;
    }
    const int32_t multiplier = dc_constant(&weights->multiplier, channel);
    int8_t *const plane = output + channel * layer->out_height * layer->out_width;
    if (!layer->pooled) {
        for (int32_t i = 0; i < 2; ++i) {
            plane[positions->output[i]] =
                dc_requantize_int8(sum[i], multiplier, &layer->requantize);
        }
        return;
    }
    int8_t *const at = plane + positions->output[0];
    const int8_t result =
        dc_requantize_int8(dc_maximum(sum[0], sum[1]), multiplier, &layer->requantize);
    *at = positions->pools && *at > result ? *at : result;
}

/* All output channels at two positions, from their columns. */
DC_INLINE void dc_conv2d_panel_channels(const dc_conv2d *layer, const dc_weights *weights,
                                        const uint32_t *columns,
                                        const dc_conv2d_positions *positions, int8_t *output) {
    const int32_t pairs = (dc_conv2d_columns(layer) + 1) / 2;
    const uint8_t *values = (const uint8_t *)weights->values;
    int32_t o = 0;
    for (; o + 2 < layer->out_channels; o += 4, values += 8 * pairs) {
        const dc_panel_sums sums = dc_panel_four(
            values, columns, pairs, dc_conv2d_bias(layer, weights, o),
            dc_conv2d_bias(layer, weights, o + 1), dc_conv2d_bias(layer, weights, o + 2),
            dc_conv2d_bias(layer, weights, o + 3));
        dc_conv2d_panel_store(layer, weights, o, sums.a, positions, output);
        dc_conv2d_panel_store(layer, weights, o + 1, sums.b, positions, output);
        dc_conv2d_panel_store(layer, weights, o + 2, sums.c, positions, output);
        dc_conv2d_panel_store(layer, weights, o + 3, sums.d, positions, output);
    }
    if (o < layer->out_channels) {
        const dc_panel_sums sums =
            dc_panel_two(values, columns, pairs, dc_conv2d_bias(layer, weights, o),
                         dc_conv2d_bias(layer, weights, o + 1));
        dc_conv2d_panel_store(layer, weights, o, sums.a, positions, output);
        dc_conv2d_panel_store(layer, weights, o + 1, sums.b, positions, output);
    }
}

DC_INLINE void dc_conv2d_panel_positions(const dc_conv2d *layer, const dc_weights *weights,
                                         const int8_t *input, uint32_t *columns,
                                         const dc_conv2d_positions *positions, int8_t *output) {
    const int32_t pairs = (dc_conv2d_columns(layer) + 1) / 2;
    for (int32_t i = 0; i < 2; ++i) {
        dc_conv2d_column(layer, input, positions->y[i], positions->x[i],
                         (int16_t *)(void *)(columns + i * pairs));
    }
    dc_conv2d_panel_channels(layer, weights, columns, positions, output);
}

/* Positions in the order of the output, two at a time; the last one twice if their number is odd.
 */
DC_INLINE void dc_conv2d_panel_plane(const dc_conv2d *layer, const dc_weights *weights,
                                     const int8_t *input, int8_t *output, uint32_t *columns) {
    const int32_t count = layer->out_height * layer->out_width;
    dc_conv2d_positions at = {{0, 0}, {0, 0}, {0, 0}, 0};
    int32_t y = 0, x = 0;
    for (int32_t done = 0; done < count; done += 2) {
        for (int32_t i = 0; i < 2; ++i) {
            if (done + i < count) {
                at.y[i] = y;
                at.x[i] = x;
                at.output[i] = done + i;
                x = x + 1 < layer->out_width ? x + 1 : 0;
                y += x == 0;
            } else {
                at.y[1] = at.y[0];
                at.x[1] = at.x[0];
                at.output[1] = at.output[0];
            }
        }
        dc_conv2d_panel_positions(layer, weights, input, columns, &at, output);
    }
}

/* The positions of each pooling window, two at a time; the last one twice if their number is odd.
 */
DC_INLINE void dc_conv2d_panel_pooled(const dc_conv2d *layer, const dc_weights *weights,
                                      const int8_t *input, int8_t *output, uint32_t *columns) {
    const int32_t window = layer->pool_height * layer->pool_width;
    for (int32_t place = 0; place < layer->out_height * layer->out_width; ++place) {
        const int32_t top = place / layer->out_width * layer->pool_stride_height;
        const int32_t left = place % layer->out_width * layer->pool_stride_width;
        for (int32_t i = 0; i < window; i += 2) {
            const int32_t j = dc_minimum(i + 1, window - 1);
            const dc_conv2d_positions at = {
                {top + i / layer->pool_width, top + j / layer->pool_width},
                {left + i % layer->pool_width, left + j % layer->pool_width},
                {place, place},
                i > 0};
            dc_conv2d_panel_positions(layer, weights, input, columns, &at, output);
        }
    }
}

/* input [in_channels][height][width], without padding -> output [out_channels][...][...] */
DC_INLINE void dc_conv2d_panel(const dc_conv2d *layer, const dc_weights *weights,
                               const int8_t *input, int8_t *output, int32_t *scratch) {
    uint32_t *const columns = (uint32_t *)scratch;
    if (layer->pooled) {
        dc_conv2d_panel_pooled(layer, weights, input, output, columns);
    } else {
        dc_conv2d_panel_plane(layer, weights, input, output, columns);
    }
}

#endif
