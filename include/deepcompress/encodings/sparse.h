/*
 * The sparse encodings behind one interface. Which one is meant is a constant to the compiler,
 * which leaves nothing of the others.
 */
#ifndef DEEPCOMPRESS_ENCODINGS_SPARSE_H
#define DEEPCOMPRESS_ENCODINGS_SPARSE_H

#include "../weights.h"
#include "bitmap.h"
#include "delta.h"
#include "delta4.h"

DC_INLINE dc_reader dc_sparse_begin(const dc_weights *weights) {
    const dc_reader reader = {(const uint8_t *)weights->values, weights->index, weights->index, 0};
    return reader;
}

/* Begins the next output channel, of `columns` weights with the zeros; how many are stored. */
DC_INLINE int32_t dc_sparse_channel(dc_encoding encoding, dc_reader *reader, int32_t columns) {
    if (encoding == DC_BITMAP) {
        dc_bitmap_row(reader, columns);
    }
    return dc_read_count(reader);
}

/* The next weight of the channel, and how many zeros lie before it. */
DC_INLINE int32_t dc_sparse_next(dc_encoding encoding, dc_reader *reader, int32_t *gap) {
    switch (encoding) {
    case DC_DELTA4:
        return dc_delta4_next(reader, gap);
    case DC_BITMAP:
        return dc_bitmap_next(reader, gap);
    case DC_DELTA:
    case DC_DENSE:
        break;
    }
    return dc_delta_next(reader, gap);
}

#endif
