/*
 * A convolution weight by weight: each weight of an output channel is multiplied with the inputs of
 * many positions before the next weight is read. So zeros cost nothing, whatever their pattern.
 * Depthwise convolutions, whose channels have few weights, also run this way.
 *
 * An output channel is first decoded to a list of taps (the weight, and the offset of its input),
 * which all positions share. If the input's zero point is not folded into the bias, the sum of the
 * weights completes the bias: bias - zero_point * sum of weight.
 *
 * conv2d_taps_dsp.h computes tiles of eight or sixteen positions. conv2d_taps_c.h computes smaller
 * outputs, pooling windows other than 2x2 and strides above 2; conv2d_taps_mve.h is for an M55.
 * Scratch: a word for each tap of the channel that has the most.
 */
#ifndef DEEPCOMPRESS_KERNELS_CONV2D_TAPS_H
#define DEEPCOMPRESS_KERNELS_CONV2D_TAPS_H

#include "../encodings/sparse.h"
#include "conv2d_channel.h"
#include "conv2d_taps_dsp.h"
#include "conv2d_taps_mve.h"

/* The largest step of a tap; taps of weight 0 bridge larger ones. */
#define DC_LARGEST_STEP 65535

/* Decodes the next output channel of the reader; if `even`, to an even number of taps above 0. */
DC_INLINE dc_taps dc_conv2d_decode(const dc_conv2d *layer, dc_encoding encoding, dc_reader *reader,
                                   int32_t even, dc_tap *first) {
    const int32_t columns = layer->in_channels * layer->kernel_height * layer->kernel_width;
    const int32_t next_row =
        layer->in_width * layer->dilation_height - layer->kernel_width * layer->dilation_width;
    const int32_t next_channel =
        layer->in_width * (layer->in_height - layer->kernel_height * layer->dilation_height);
    dc_tap *tap = first;
    dc_weight weight;
    int32_t ky = 0, kx = -1, offset = -layer->dilation_width, before = 0, total = 0;
    dc_sparse_channel(encoding, reader, columns);
    while (dc_sparse_next(encoding, reader, &weight)) {
        kx += weight.gap + 1;
        offset += (weight.gap + 1) * layer->dilation_width;
        while (kx >= layer->kernel_width) {
            kx -= layer->kernel_width;
            offset += next_row;
            if (++ky == layer->kernel_height) {
                ky = 0;
                offset += next_channel;
            }
        }
        if (weight.value != 0) {
            if (layer->in_channels * layer->in_height * layer->in_width > DC_LARGEST_STEP) {
                for (; offset - before > DC_LARGEST_STEP; before += DC_LARGEST_STEP) {
                    *tap++ = (uint32_t)DC_LARGEST_STEP << 16;
                }
            }
            *tap++ = (uint32_t)(offset - before) << 16 | (uint16_t)weight.value;
            before = offset;
            total += weight.value;
        }
    }
    while (even && (tap == first || (tap - first) % 2 != 0)) {
        *tap++ = 0;
    }
    const dc_taps taps = {first, tap, total};
    return taps;
}

/* The next output channel of the reader, `o`. */
DC_INLINE dc_conv2d_channel dc_conv2d_next_channel(const dc_conv2d *layer,
                                                   const dc_weights *weights, dc_encoding encoding,
                                                   dc_reader *reader, int32_t o,
                                                   const int8_t *padded, int32_t even,
                                                   int32_t *scratch) {
    const dc_taps taps = dc_conv2d_decode(layer, encoding, reader, even, (dc_tap *)scratch);
    const dc_conv2d_channel channel = {
        layer, taps, padded, dc_constant(&weights->bias, o) - weights->zero_point * taps.total,
        dc_constant(&weights->multiplier, o)};
    return channel;
}

/*
 * The kernels: the same loops over groups and output channels, with different functions per
 * channel.
 *
 * input [groups * in_channels][height][width] -> output [out_channels][out_height][out_width]
 */

/* For any CPU and any shape. */
DC_INLINE void dc_conv2d_taps_c(const dc_conv2d *layer, const dc_weights *weights,
                                dc_encoding encoding, const int8_t *input, int8_t *output,
                                int32_t *scratch) {
    const int32_t channels = layer->out_channels / layer->groups;
    dc_reader reader;
    dc_sparse_begin(&reader, weights);
    int32_t o = 0;
    for (int32_t group = 0; group < layer->groups; ++group) {
        const int8_t *const padded = dc_conv2d_pad(layer, input, scratch, 0);
        for (int32_t end = o + channels; o < end; ++o) {
            const dc_conv2d_channel channel =
                dc_conv2d_next_channel(layer, weights, encoding, &reader, o, padded, 0, scratch);
            dc_conv2d_channel_c(&channel, output);
            output += layer->out_height * layer->out_width;
        }
        input += dc_conv2d_group_size(layer);
    }
}

/* For layers whose tile_rows is 1 or 2. */
DC_INLINE void dc_conv2d_taps_dsp8(const dc_conv2d *layer, const dc_weights *weights,
                                   dc_encoding encoding, const int8_t *input, int8_t *output,
                                   int32_t *scratch) {
    const int32_t channels = layer->out_channels / layer->groups;
    dc_reader reader;
    dc_sparse_begin(&reader, weights);
    int32_t o = 0;
    for (int32_t group = 0; group < layer->groups; ++group) {
        const int8_t *const padded = dc_conv2d_pad(layer, input, scratch, 0);
        for (int32_t end = o + channels; o < end; ++o) {
            const dc_conv2d_channel channel =
                dc_conv2d_next_channel(layer, weights, encoding, &reader, o, padded, 1, scratch);
            dc_conv2d_tiled_plane(&channel, 0, output);
            output += layer->out_height * layer->out_width;
        }
        input += dc_conv2d_group_size(layer);
    }
}

/* If also the stride is 1 and the sums of products of every channel fit int16; copies its input. */
DC_INLINE void dc_conv2d_taps_dsp16(const dc_conv2d *layer, const dc_weights *weights,
                                    dc_encoding encoding, const int8_t *input, int8_t *output,
                                    int32_t *scratch) {
    const int32_t channels = layer->out_channels / layer->groups;
    dc_reader reader;
    dc_sparse_begin(&reader, weights);
    int32_t o = 0;
    for (int32_t group = 0; group < layer->groups; ++group) {
        const int8_t *const padded = dc_conv2d_pad(layer, input, scratch, DC_FLIPPED);
        for (int32_t end = o + channels; o < end; ++o) {
            const dc_conv2d_channel channel =
                dc_conv2d_next_channel(layer, weights, encoding, &reader, o, padded, 1, scratch);
            dc_conv2d_tiled_plane(&channel, 1, output);
            output += layer->out_height * layer->out_width;
        }
        input += dc_conv2d_group_size(layer);
    }
}

#if DC_HAS_MVE

/* For any shape. */
DC_INLINE void dc_conv2d_taps_mve12(const dc_conv2d *layer, const dc_weights *weights,
                                    dc_encoding encoding, const int8_t *input, int8_t *output,
                                    int32_t *scratch) {
    const int32_t channels = layer->out_channels / layer->groups;
    dc_reader reader;
    dc_sparse_begin(&reader, weights);
    int32_t o = 0;
    for (int32_t group = 0; group < layer->groups; ++group) {
        const int8_t *const padded = dc_conv2d_pad(layer, input, scratch, 0);
        for (int32_t end = o + channels; o < end; ++o) {
            const dc_conv2d_channel channel =
                dc_conv2d_next_channel(layer, weights, encoding, &reader, o, padded, 0, scratch);
            dc_conv2d_vector_plane(&channel, 12, output);
            output += layer->out_height * layer->out_width;
        }
        input += dc_conv2d_group_size(layer);
    }
}

/* If the sums of products of every channel and the offsets of windows fit int16. */
DC_INLINE void dc_conv2d_taps_mve24(const dc_conv2d *layer, const dc_weights *weights,
                                    dc_encoding encoding, const int8_t *input, int8_t *output,
                                    int32_t *scratch) {
    const int32_t channels = layer->out_channels / layer->groups;
    dc_reader reader;
    dc_sparse_begin(&reader, weights);
    int32_t o = 0;
    for (int32_t group = 0; group < layer->groups; ++group) {
        const int8_t *const padded = dc_conv2d_pad(layer, input, scratch, 0);
        for (int32_t end = o + channels; o < end; ++o) {
            const dc_conv2d_channel channel =
                dc_conv2d_next_channel(layer, weights, encoding, &reader, o, padded, 0, scratch);
            dc_conv2d_vector_plane(&channel, 24, output);
            output += layer->out_height * layer->out_width;
        }
        input += dc_conv2d_group_size(layer);
    }
}

#endif

#endif
