/*
 * One interface to all encodings. The encoding is a constant for the compiler,
 * which removes the code of the others.
 *
 *   dc_sparse_begin(&reader, weights);
 *   for each output channel:
 *       dc_sparse_channel(encoding, &reader, columns);
 *       while (dc_sparse_next(encoding, &reader, &weight)): weight.gap zeros, then weight.value
 */
#ifndef DEEPCOMPRESS_ENCODINGS_SPARSE_H
#define DEEPCOMPRESS_ENCODINGS_SPARSE_H

#include "../weights.h"
#include "bitmap.h"
#include "block.h"
#include "codebook.h"
#include "delta.h"
#include "delta4.h"
#include "huffman.h"

/* How the weights are stored in flash; docs/formats.md shows each encoding. */
typedef enum {
    DC_DENSE,
    DC_DELTA,
    DC_DELTA4,
    DC_BITMAP,
    DC_BLOCK,
    DC_CODEBOOK,
    DC_HUFFMAN
} dc_encoding;

DC_INLINE void dc_sparse_begin(dc_reader *reader, const dc_weights *weights) {
    reader->values = (const uint8_t *)weights->values;
    reader->bit = 0;
    reader->codebook = weights->codebook;
    reader->index = weights->index;
    reader->index_bit = 0;
    reader->row = weights->index;
    reader->next.gap = -1;
}

/* Whether gaps continue across the ends of output channels, which then have no counts. */
DC_INLINE int32_t dc_sparse_runs_on(dc_encoding encoding) {
    return encoding == DC_CODEBOOK || encoding == DC_HUFFMAN;
}

/* Begins the next output channel, of `columns` weights including zeros. */
DC_INLINE void dc_sparse_channel(dc_encoding encoding, dc_reader *reader, int32_t columns) {
    if (dc_sparse_runs_on(encoding)) {
        reader->left = columns;
        return;
    }
    if (encoding == DC_DENSE) {
        reader->left = columns;
        return;
    }
    if (encoding == DC_BLOCK) {
        dc_block_channel(reader, columns);
        return;
    }
    if (encoding == DC_BITMAP) {
        dc_bitmap_row(reader, columns);
    }
    reader->left = dc_read_count(reader);
}

/* The next weight of the channel, read ahead of its channel's end. False at the end. */
DC_INLINE int32_t dc_sparse_next_running(dc_encoding encoding, dc_reader *reader,
                                         dc_weight *weight) {
    if (reader->next.gap < 0) {
        if (encoding == DC_HUFFMAN) {
            dc_huffman_read(reader);
        } else {
            dc_codebook_read(reader);
        }
    }
    if (reader->next.gap >= reader->left) {
        reader->next.gap -= reader->left;
        return 0;
    }
    *weight = reader->next;
    reader->left -= weight->gap + 1;
    reader->next.gap = -1;
    return 1;
}

/* The next weight of the channel, which may be zero, and the zeros before it. False at the end. */
DC_INLINE int32_t dc_sparse_next(dc_encoding encoding, dc_reader *reader, dc_weight *weight) {
    if (dc_sparse_runs_on(encoding)) {
        return dc_sparse_next_running(encoding, reader, weight);
    }
    if (reader->left == 0) {
        return 0;
    }
    --reader->left;
    switch (encoding) {
    case DC_DENSE:
        weight->gap = 0;
        weight->value = (int8_t)*reader->values++;
        break;
    case DC_DELTA4:
        dc_delta4_next(reader, weight);
        break;
    case DC_BITMAP:
        dc_bitmap_next(reader, weight);
        break;
    case DC_BLOCK:
        dc_block_next(reader, weight);
        break;
    default:
        dc_delta_next(reader, weight);
    }
    return 1;
}

#endif
