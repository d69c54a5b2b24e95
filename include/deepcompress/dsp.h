/*
 * The DSP extension's instructions as functions. If the CPU lacks them, the functions are in C, so
 * that the kernels that use them also run on a PC, with or without sanitizers.
 *
 * A pair is two int16 in one word; B (bottom) and T (top) in a name are its low and high half.
 */
#ifndef DEEPCOMPRESS_DSP_H
#define DEEPCOMPRESS_DSP_H

#include <stdint.h>
#include <string.h>

#include "cpu.h"
#include "model.h"

/* Four bytes, at any address. */
DC_INLINE uint32_t dc_load_word(const void *at) {
    uint32_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

/* Two int16, at any even address. */
DC_INLINE uint32_t dc_pair(int32_t bottom, int32_t top) {
    return (uint32_t)(uint16_t)bottom | (uint32_t)(uint16_t)top << 16;
}

DC_INLINE int32_t dc_bottom(uint32_t pair) {
    return (int16_t)(uint16_t)pair;
}

DC_INLINE int32_t dc_top(uint32_t pair) {
    return (int16_t)(uint16_t)(pair >> 16);
}

#if DC_DSP_INSTRUCTIONS

/* Bytes 0 and 2, sign-extended. */
DC_INLINE uint32_t dc_sxtb16(uint32_t word) {
    uint32_t pair;
    __asm__("sxtb16 %0, %1" : "=r"(pair) : "r"(word));
    return pair;
}

/* Bytes 1 and 3, sign-extended. */
DC_INLINE uint32_t dc_sxtb16_ror8(uint32_t word) {
    uint32_t pair;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(pair) : "r"(word));
    return pair;
}

/* An address and byte 0, or byte 2. */
DC_INLINE const int8_t *dc_uxtab(const int8_t *at, uint32_t word) {
    __asm__("uxtab %0, %0, %1" : "+r"(at) : "r"(word));
    return at;
}

DC_INLINE const int8_t *dc_uxtab_ror16(const int8_t *at, uint32_t word) {
    __asm__("uxtab %0, %0, %1, ror #16" : "+r"(at) : "r"(word));
    return at;
}

/* The high word of a product, rounded. */
DC_INLINE int32_t dc_smmulr(int32_t a, int32_t b) {
    int32_t high;
    __asm__("smmulr %0, %1, %2" : "=r"(high) : "r"(a), "r"(b));
    return high;
}

/* Clamped to int8. */
DC_INLINE int32_t dc_ssat8(int32_t value) {
    int32_t clamped;
    __asm__("ssat %0, #8, %1" : "=r"(clamped) : "r"(value));
    return clamped;
}

/* The larger of two unsigned bottoms and of two unsigned tops. */
DC_INLINE uint32_t dc_larger_pair(uint32_t a, uint32_t b) {
    uint32_t pair;
    __asm__("usub16 %0, %1, %2\n\t"
            "sel %0, %1, %2"
            : "=&r"(pair)
            : "r"(a), "r"(b)
            : "cc");
    return pair;
}

/* sum + bottom * bottom, and top * bottom */
DC_INLINE int32_t dc_smlabb(uint32_t a, uint32_t b, int32_t sum) {
    __asm__("smlabb %0, %1, %2, %0" : "+r"(sum) : "r"(a), "r"(b));
    return sum;
}

DC_INLINE int32_t dc_smlatb(uint32_t a, uint32_t b, int32_t sum) {
    __asm__("smlatb %0, %1, %2, %0" : "+r"(sum) : "r"(a), "r"(b));
    return sum;
}

/* sum + bottom * bottom + top * top */
DC_INLINE int32_t dc_smlad(uint32_t a, uint32_t b, int32_t sum) {
    __asm__("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(a), "r"(b));
    return sum;
}

#else

DC_INLINE uint32_t dc_sxtb16(uint32_t word) {
    return dc_pair((int8_t)(uint8_t)word, (int8_t)(uint8_t)(word >> 16));
}

DC_INLINE uint32_t dc_sxtb16_ror8(uint32_t word) {
    return dc_sxtb16(word >> 8);
}

DC_INLINE const int8_t *dc_uxtab(const int8_t *at, uint32_t word) {
    return at + (word & 0xff);
}

DC_INLINE const int8_t *dc_uxtab_ror16(const int8_t *at, uint32_t word) {
    return at + (word >> 16 & 0xff);
}

DC_INLINE int32_t dc_smmulr(int32_t a, int32_t b) {
    return (int32_t)(((int64_t)a * b + ((int64_t)1 << 31)) >> 32);
}

DC_INLINE int32_t dc_ssat8(int32_t value) {
    return value < -128 ? -128 : value > 127 ? 127 : value;
}

DC_INLINE uint32_t dc_larger_pair(uint32_t a, uint32_t b) {
    const uint32_t bottom = (a & 0xffff) > (b & 0xffff) ? a & 0xffff : b & 0xffff;
    const uint32_t top = a >> 16 > b >> 16 ? a >> 16 : b >> 16;
    return top << 16 | bottom;
}

DC_INLINE int32_t dc_smlabb(uint32_t a, uint32_t b, int32_t sum) {
    return sum + dc_bottom(a) * dc_bottom(b);
}

DC_INLINE int32_t dc_smlatb(uint32_t a, uint32_t b, int32_t sum) {
    return sum + dc_top(a) * dc_bottom(b);
}

DC_INLINE int32_t dc_smlad(uint32_t a, uint32_t b, int32_t sum) {
    return sum + dc_bottom(a) * dc_bottom(b) + dc_top(a) * dc_top(b);
}

#endif

/* sum + the products of four int8 */
DC_INLINE int32_t dc_dot_four(uint32_t a, uint32_t b, int32_t sum) {
    sum = dc_smlad(dc_sxtb16(a), dc_sxtb16(b), sum);
    return dc_smlad(dc_sxtb16_ror8(a), dc_sxtb16_ror8(b), sum);
}

#endif
