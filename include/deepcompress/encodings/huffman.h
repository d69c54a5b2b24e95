/*
 * Reader of entropy-coded weights (platformio_plugin/deepcompress/encodings/huffman.py).
 *
 *   values   = (gap, weight)* gap
 *   codebook = k, then for each length 1, 2, ...: the number of codes, and their weights
 *   gap      = Rice code: zeros / 2^k as that many 0 bits and a 1, then zeros % 2^k in k bits
 *   weight   = canonical Huffman code
 *
 * With k = 255 there are no gaps: every weight has a code, including zero.
 */
#ifndef DEEPCOMPRESS_ENCODINGS_HUFFMAN_H
#define DEEPCOMPRESS_ENCODINGS_HUFFMAN_H

#include "bits.h"
#include "reader.h"

#define DC_HUFFMAN_NO_GAPS 255

/* Reads the gap at *bit, a Rice code with k of at most 12. */
DC_INLINE int32_t dc_huffman_gap(const uint8_t *stream, uint32_t *bit, uint32_t k) {
    uint32_t zeros = 0;
    uint32_t window = dc_bits_window(stream, *bit);
    while ((window >> 24) == 0) {
        zeros += 8;
        window = dc_bits_window(stream, *bit + zeros);
    }
    const uint32_t shift = dc_leading_zeros(window);
    zeros += shift;
    *bit += zeros + 1 + k;
    /* The k + 1 bits read here include the 1 that ends the zeros, which adds one quotient. */
    return (int32_t)(((zeros - 1) << k) + (window << shift >> (31 - k)));
}

/*
 * Reads the weight whose code is at *bit. `codes` points to the entry of the length 32 - shift: the
 * number of codes and their weights. The window is relative to the first code of that length.
 */
DC_INLINE int32_t dc_huffman_value(const uint8_t *stream, uint32_t *bit, const uint8_t *codes) {
    uint32_t window = dc_bits_window(stream, *bit);
    uint32_t shift = 31;
    while (window >> shift >= *codes) {
        window -= (uint32_t)*codes << shift;
        codes += *codes + 1;
        --shift;
    }
    *bit += 32 - shift;
    return (int8_t)codes[1 + (window >> shift)];
}

/* Reads the next gap and weight. One function for all layers, as it is larger than a call. */
DC_SHARED void dc_huffman_read(dc_reader *reader) {
    const uint8_t *codebook = reader->codebook;
    const uint32_t k = *codebook;
    uint32_t bit = reader->bit;
    reader->next.gap = k == DC_HUFFMAN_NO_GAPS ? 0 : dc_huffman_gap(reader->values, &bit, k);
    reader->next.value = dc_huffman_value(reader->values, &bit, codebook + 1);
    reader->bit = bit;
}

#endif
