/*
 * Reader of weights with packed 4-bit gaps (platformio_plugin/deepcompress/encodings/delta4.py).
 *
 *   values = output channel*
 *   output channel = count, value*count
 *   index  = gap of each value, low half of a byte first
 *   gap    = 15* rest, rest < 15: the sum of these
 */
#ifndef DEEPCOMPRESS_ENCODINGS_DELTA4_H
#define DEEPCOMPRESS_ENCODINGS_DELTA4_H

#include "reader.h"

/* The next gap of the index. */
DC_INLINE int32_t dc_delta4_gap(dc_reader *reader) {
    int32_t zeros = 0, nibble;
    do {
        nibble = (*reader->index >> reader->index_bit) & 15;
        reader->index += reader->index_bit >> 2;
        reader->index_bit ^= 4;
        zeros += nibble;
    } while (nibble == 15);
    return zeros;
}

DC_INLINE void dc_delta4_next(dc_reader *reader, dc_weight *weight) {
    weight->gap = dc_delta4_gap(reader);
    weight->value = (int8_t)*reader->values++;
}

#endif
