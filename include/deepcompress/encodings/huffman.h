/*
 * Reader of entropy-coded weights (platformio_plugin/deepcompress/encodings/huffman.py).
 *
 *   values   = (gap, weight)* gap
 *   codebook = k, then for lengths 1, 2, ...: how many codes have it, and their weights
 *   gap      = Rice code: zeros / 2^k as so many 0 bits and a 1, then zeros % 2^k in k bits
 *   weight   = canonical Huffman code
 *
 * With k = 255 there are no gaps: every weight has a code, zero too.
 */
#ifndef DEEPCOMPRESS_ENCODINGS_HUFFMAN_H
#define DEEPCOMPRESS_ENCODINGS_HUFFMAN_H

#include "bits.h"
#include "reader.h"

#define DC_HUFFMAN_NO_GAPS 255

/* The zeros of the gap at reader->bit; k is 12 at the most. */
DC_INLINE int32_t dc_huffman_gap(dc_reader *reader, uint32_t k) {
    uint32_t quotient = 0;
    uint32_t window = dc_bits_window(reader->values, reader->bit);
    while ((window >> 24) == 0) {
        quotient += 8;
        reader->bit += 8;
        window = dc_bits_window(reader->values, reader->bit);
    }
    const uint32_t zeros = dc_leading_zeros(window);
    reader->bit += zeros + 1 + k;
    /* Shifted in two steps, because k may be 0 and a shift by 32 is undefined. */
    const uint32_t remainder = (window << zeros << 1) >> 1 >> (31 - k);
    return (int32_t)((quotient + zeros) << k | remainder);
}

/*
 * The weight whose code is at reader->bit. `code` counts from the first code of its length, of
 * which there are *codes, with their weights behind that.
 */
DC_INLINE int32_t dc_huffman_value(dc_reader *reader, const uint8_t *codes) {
    uint32_t window = dc_bits_window(reader->values, reader->bit);
    uint32_t code = window >> 31;
    while (code >= *codes) {
        ++reader->bit;
        window <<= 1;
        code = 2 * (code - *codes) + (window >> 31);
        codes += *codes + 1;
    }
    ++reader->bit;
    return (int8_t)codes[1 + code];
}

/* Reads the next gap and weight: one function for all layers, for it is larger than its call. */
DC_SHARED void dc_huffman_read(dc_reader *reader) {
    const uint8_t *codebook = reader->codebook;
    const uint32_t k = *codebook;
    reader->next.gap = k == DC_HUFFMAN_NO_GAPS ? 0 : dc_huffman_gap(reader, k);
    reader->next.value = dc_huffman_value(reader, codebook + 1);
}

#endif
