/*
 * A convolution weight by weight: each weight of an output channel meets its inputs of many
 * positions before the next one is looked at. So zeros cost nothing, whatever their pattern, and
 * depthwise convolutions, whose channels have few weights, run this way too.
 *
 * An output channel is first decoded to a list of taps (weight, and where its input lies), which
 * then serves all positions. The sum of its weights completes a bias that has the input's zero
 * point not folded in: bias - zero_point * sum of weight.
 *
 * Tiles of eight or sixteen positions are conv2d_taps_dsp.h's; outputs of fewer, other pooling
 * windows than 2x2 and strides above 2 conv2d_taps_c.h's; and all of an M55 conv2d_taps_mve.h's.
 * Scratch: a word for each tap of the channel that has the most.
 */
#ifndef DEEPCOMPRESS_KERNELS_CONV2D_TAPS_H
#define DEEPCOMPRESS_KERNELS_CONV2D_TAPS_H

#include "../encodings/sparse.h"
#include "conv2d_channel.h"
#include "conv2d_taps_dsp.h"
#include "conv2d_taps_mve.h"

/* What a tap can step at most; taps of weight 0 bridge more. */
#define DC_LARGEST_STEP 65535

/* Decodes the next output channel of the reader. */
DC_INLINE dc_taps dc_conv2d_decode(const dc_conv2d *layer, dc_encoding encoding, dc_reader *reader,
                                   dc_tap *first) {
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
    while (!DC_HAS_MVE && (tap == first || (tap - first) % 2 != 0)) {
        *tap++ = 0;
    }
    const dc_taps taps = {first, tap, total};
    return taps;
}

/* One output channel, the way that its shape allows: a constant to the compiler. */
DC_INLINE void dc_conv2d_channel_output_c(const dc_conv2d_channel *channel, int8_t *output) {
    const dc_conv2d *const layer = channel->layer;
    const int32_t shrink = layer->pooled ? 2 : 1;
    const int32_t height = layer->out_height * shrink, width = layer->out_width * shrink;
    const int32_t rows = dc_conv2d_rows_of_tiles(layer);
    if (rows > 0) {
        dc_conv2d_tiled_plane(channel, rows, height, width, output);
    } else if (layer->pooled) {
        dc_conv2d_pooled_plane(channel, output);
    } else {
        dc_conv2d_plane(channel, output);
    }
}

#if DC_HAS_MVE
#define dc_conv2d_channel_output dc_conv2d_channel_output_mve
#else
#define dc_conv2d_channel_output dc_conv2d_channel_output_c
#endif

/* input [groups * in_channels][height][width] -> output [out_channels][out_height][out_width] */
DC_INLINE void dc_conv2d_taps(const dc_conv2d *layer, const dc_weights *weights,
                              const int8_t *input, int8_t *output, int32_t *scratch) {
    const int32_t channels = layer->out_channels / layer->groups;
    dc_reader reader;
    dc_sparse_begin(&reader, weights);
    int32_t o = 0;
    for (int32_t group = 0; group < layer->groups; ++group) {
        const int8_t *const padded = dc_conv2d_pad(layer, input, scratch);
        for (int32_t end = o + channels; o < end; ++o) {
            const dc_taps taps =
                dc_conv2d_decode(layer, weights->encoding, &reader, (dc_tap *)scratch);
            const dc_conv2d_channel channel = {layer, taps, padded,
                                               dc_constant(&weights->bias, o) -
                                                   weights->zero_point * taps.total,
                                               dc_constant(&weights->multiplier, o)};
            dc_conv2d_channel_output(&channel, output);
            output += layer->out_height * layer->out_width;
        }
        input += dc_conv2d_group_size(layer);
    }
}

#endif
