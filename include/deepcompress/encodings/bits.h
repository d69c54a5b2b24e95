/*
 * Streams of bits, high bit first (platformio_plugin/deepcompress/encodings/bits.py).
 */
#ifndef DEEPCOMPRESS_ENCODINGS_BITS_H
#define DEEPCOMPRESS_ENCODINGS_BITS_H

#include <stdint.h>

#include "../model.h"

/*
 * The stream from bit `at` on, which becomes the highest bit of the result; at least 25 bits are
 * valid. It reads four bytes, for which the encoder pads. Compilers use one load if the core can.
 */
DC_INLINE uint32_t dc_bits_window(const uint8_t *stream, uint32_t at) {
    const uint8_t *byte = stream + (at >> 3);
    const uint32_t word = (uint32_t)byte[0] << 24 | (uint32_t)byte[1] << 16 |
                          (uint32_t)byte[2] << 8 | (uint32_t)byte[3];
    return word << (at & 7);
}

/* Zero bits above the highest set bit of a value that is not 0. */
DC_INLINE uint32_t dc_leading_zeros(uint32_t bits) {
#if defined(__ARM_FEATURE_CLZ) || (defined(__GNUC__) && !defined(__arm__))
    return (uint32_t)__builtin_clz(bits);
#else
    uint32_t zeros = 0;
    for (; (bits >> 31) == 0; bits <<= 1) {
        ++zeros;
    }
    return zeros;
#endif
}

#endif
