/*
 * Reader of weights with a bitmap (platformio_plugin/deepcompress/encodings/bitmap.py).
 *
 *   values = output channel*
 *   output channel = count, value*count
 *   index  = one bit per weight, low bit first, 1 if it is not zero; each channel starts a new byte
 */
#ifndef DEEPCOMPRESS_ENCODINGS_BITMAP_H
#define DEEPCOMPRESS_ENCODINGS_BITMAP_H

#include "reader.h"

/* Moves on to the bitmap of the next output channel, of `columns` weights. */
DC_INLINE void dc_bitmap_row(dc_reader *reader, int32_t columns) {
    reader->index = reader->row;
    reader->row += (columns + 7) / 8;
    reader->index_bit = 0;
}

/* Zero bits below the lowest set bit of a value that is not 0. */
DC_INLINE int32_t dc_trailing_zeros(int32_t bits) {
#if defined(__GNUC__)
    return __builtin_ctz((unsigned)bits);
#else
    int32_t zeros = 0;
    for (; (bits & 1) == 0; bits >>= 1) {
        ++zeros;
    }
    return zeros;
#endif
}

DC_INLINE void dc_bitmap_next(dc_reader *reader, dc_weight *weight) {
    int32_t zeros = 0;
    int32_t bits = *reader->index >> reader->index_bit;
    while (bits == 0) {
        zeros += 8 - reader->index_bit;
        reader->index_bit = 0;
        bits = *++reader->index;
    }
    const int32_t last = dc_trailing_zeros(bits);
    zeros += last;
    reader->index_bit += last + 1;
    reader->index += reader->index_bit >> 3;
    reader->index_bit &= 7;
    weight->gap = zeros;
    weight->value = (int8_t)*reader->values++;
}

#endif
