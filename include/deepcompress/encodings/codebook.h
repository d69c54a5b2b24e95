/*
 * Reader of weights with a codebook (platformio_plugin/deepcompress/encodings/codebook.py).
 *
 *   values   = number of each weight in the codebook, `bits` wide, high bit first
 *   index    = gap before each weight, and the gap after the last one, as in delta4
 *   codebook = bits, then the weights
 */
#ifndef DEEPCOMPRESS_ENCODINGS_CODEBOOK_H
#define DEEPCOMPRESS_ENCODINGS_CODEBOOK_H

#include "bits.h"
#include "delta4.h"

DC_INLINE void dc_codebook_read(dc_reader *reader) {
    const uint32_t width = *reader->codebook;
    const uint32_t number = dc_bits_window(reader->values, reader->bit) >> (32 - width);
    reader->bit += width;
    reader->next.gap = dc_delta4_gap(reader);
    reader->next.value = (int8_t)reader->codebook[1 + number];
}

#endif
