/*
 * Padding, if it is not fused into a convolution after it.
 */
#ifndef DEEPCOMPRESS_KERNELS_PAD_H
#define DEEPCOMPRESS_KERNELS_PAD_H

#include <stdint.h>
#include <string.h>

#include "../requantize.h"

enum { DC_PAD_CONSTANT, DC_PAD_REFLECT, DC_PAD_REPLICATE, DC_PAD_CIRCULAR };

typedef struct {
    int32_t size, before, after; /* of the input, and of the padding around it */
} dc_pad_axis;

typedef struct {
    dc_pad_axis channels, height, width;
    int32_t mode;  /* DC_PAD_... */
    int32_t value; /* of a constant padding */
} dc_pad;

/* The input's position for the output's position `at` along an axis, or -1 for the constant. */
DC_INLINE int32_t dc_pad_source(const dc_pad *layer, const dc_pad_axis *axis, int32_t at) {
    const int32_t from = at - axis->before, last = axis->size - 1;
    if (from >= 0 && from <= last) {
        return from;
    }
    switch (layer->mode) {
    case DC_PAD_REFLECT:
        return from < 0 ? -from : 2 * last - from;
    case DC_PAD_REPLICATE:
        return from < 0 ? 0 : last;
    case DC_PAD_CIRCULAR:
        return from < 0 ? from + axis->size : from - axis->size;
    default:
        return -1;
    }
}

/* Writes the columns from `at` to `end`, which are all padding. */
DC_INLINE void dc_pad_columns(const dc_pad *layer, const int8_t *row, int32_t at, int32_t end,
                              int8_t *output) {
    for (; at < end; ++at) {
        const int32_t from = dc_pad_source(layer, &layer->width, at);
        output[at] = from < 0 ? (int8_t)layer->value : row[from];
    }
}

/* input [channels][height][width] -> output, with each size larger by the padding on both sides */
DC_INLINE void dc_pad_int8(const dc_pad *layer, const int8_t *input, int8_t *output) {
    const dc_pad_axis *c = &layer->channels, *h = &layer->height, *w = &layer->width;
    const int32_t inner = w->before + w->size, width = inner + w->after;
    for (int32_t channel = 0; channel < c->before + c->size + c->after; ++channel) {
        const int32_t plane = dc_pad_source(layer, c, channel);
        for (int32_t y = 0; y < h->before + h->size + h->after; ++y, output += width) {
            const int32_t line = dc_pad_source(layer, h, y);
            if (plane < 0 || line < 0) {
                memset(output, layer->value, (size_t)width);
                continue;
            }
            const int8_t *row = input + (plane * h->size + line) * w->size;
            dc_pad_columns(layer, row, 0, w->before, output);
            memcpy(output + w->before, row, (size_t)w->size);
            dc_pad_columns(layer, row, inner, width, output);
        }
    }
}

#endif
