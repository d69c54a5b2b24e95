/*
 * The inner steps of convolutions and linear layers. With the DSP extension's instructions they are
 * assembly statements in a fixed order (volatile), because the compiler would load ahead and then
 * spill the sums. They are short, because it needs registers for all operands of a statement.
 * Cycles are those of a Cortex-M4 without wait states.
 *
 * `next`, a distance in bytes, is a constant below DC_NEXT_LIMIT; if it is not constant for the
 * compiler (-Og), the same step written in C is used, as on a PC.
 */
#ifndef DEEPCOMPRESS_DSP_STEPS_H
#define DEEPCOMPRESS_DSP_STEPS_H

#include "dsp.h"

/*
 * The weight in the low half; in the high half, unsigned, the distance in bytes from the inputs of
 * the previous weight to the inputs of this one.
 */
typedef uint32_t dc_tap;

/* The largest immediate offset of a load, 4095, must reach eight bytes from `next` on. */
#define DC_NEXT_LIMIT 4088

#if DC_DSP_INSTRUCTIONS

DC_INLINE uint32_t dc_take_tap(const dc_tap **taps, const int8_t **at) {
    uint32_t tap;
    __asm__ volatile("ldr %[tap], [%[taps]], #4\n\t"
                     "add %[at], %[at], %[tap], lsr #16"
                     : [tap] "=&r"(tap), [taps] "+r"(*taps), [at] "+r"(*at)
                     :
                     : "memory");
    return tap;
}

/* Adds a tap's weight times at[offset + 0 .. 3] to the sums. */
DC_INLINE void dc_smla_four(uint32_t tap, const int8_t *at, int32_t offset, int32_t *a0,
                            int32_t *a1, int32_t *a2, int32_t *a3) {
    uint32_t word, pair;
    __asm__ volatile("ldr %[word], [%[at], %[offset]]\n\t"
                     "sxtb16 %[pair], %[word]\n\t"
                     "smlabb %[a0], %[pair], %[tap], %[a0]\n\t"
                     "smlatb %[a2], %[pair], %[tap], %[a2]\n\t"
                     "sxtb16 %[word], %[word], ror #8\n\t"
                     "smlabb %[a1], %[word], %[tap], %[a1]\n\t"
                     "smlatb %[a3], %[word], %[tap], %[a3]"
                     : [a0] "+r"(*a0), [a1] "+r"(*a1), [a2] "+r"(*a2), [a3] "+r"(*a3),
                       [word] "=&r"(word), [pair] "=&r"(pair)
                     : [tap] "r"(tap), [at] "r"(at), [offset] "i"(offset)
                     : "memory");
}

/* The same for at[offset + 0, 2, 4, 6]. */
DC_INLINE void dc_smla_four_by_two(uint32_t tap, const int8_t *at, int32_t offset, int32_t *a0,
                                   int32_t *a1, int32_t *a2, int32_t *a3) {
    uint32_t word, pair;
    __asm__ volatile("ldr %[pair], [%[at], %[offset]]\n\t"
                     /* Not from 4 on: that would read a byte after the last input. */
                     "ldr %[word], [%[at], %[offset] + 3]\n\t"
                     "sxtb16 %[pair], %[pair]\n\t"
                     "sxtb16 %[word], %[word], ror #8\n\t"
                     "smlabb %[a0], %[pair], %[tap], %[a0]\n\t"
                     "smlatb %[a1], %[pair], %[tap], %[a1]\n\t"
                     "smlabb %[a2], %[word], %[tap], %[a2]\n\t"
                     "smlatb %[a3], %[word], %[tap], %[a3]"
                     : [a0] "+r"(*a0), [a1] "+r"(*a1), [a2] "+r"(*a2), [a3] "+r"(*a3),
                       [word] "=&r"(word), [pair] "=&r"(pair)
                     : [tap] "r"(tap), [at] "r"(at), [offset] "i"(offset)
                     : "memory");
}

/* Adds `weight` times the unsigned bytes of a word to two sums in each of the words a02, a13. */
DC_INLINE void dc_mla_four(uint32_t weight, uint32_t word, uint32_t *a02, uint32_t *a13) {
    uint32_t pair;
    __asm__ volatile("uxtb16 %[pair], %[word]\n\t"
                     "mla %[a02], %[pair], %[weight], %[a02]\n\t"
                     "uxtb16 %[pair], %[word], ror #8\n\t"
                     "mla %[a13], %[pair], %[weight], %[a13]"
                     : [a02] "+r"(*a02), [a13] "+r"(*a13), [pair] "=&r"(pair)
                     : [weight] "r"(weight), [word] "r"(word));
}

/* The four bytes at[offset + 0 .. 3], loaded exactly at this point. */
DC_INLINE uint32_t dc_load_here(const int8_t *at, int32_t offset) {
    uint32_t word;
    __asm__ volatile("ldr %[word], [%[at], %[offset]]"
                     : [word] "=r"(word)
                     : [at] "r"(at), [offset] "i"(offset)
                     : "memory");
    return word;
}

DC_INLINE uint32_t dc_take_weights(const uint8_t **values) {
    uint32_t weights;
    __asm__ volatile("ldr %[weights], [%[values]], #4"
                     : [weights] "=&r"(weights), [values] "+r"(*values)
                     :
                     : "memory");
    return weights;
}

/* Two int16 of position 0, and two int16 of position 1, `next` bytes after them. */
DC_INLINE void dc_take_inputs(const uint32_t **x, int32_t next, uint32_t *x0, uint32_t *x1) {
    __asm__ volatile("ldr %[x1], [%[x], %[next]]\n\t"
                     "ldr %[x0], [%[x]], #4"
                     : [x0] "=&r"(*x0), [x1] "=&r"(*x1), [x] "+r"(*x)
                     : [next] "i"(next)
                     : "memory");
}

/* Multiplies four weights of a panel, in columns a and b, with two inputs of positions 0 and 1. */
DC_INLINE void dc_smlad_two_by_two(uint32_t weights, uint32_t x0, uint32_t x1, int32_t *a0,
                                   int32_t *a1, int32_t *b0, int32_t *b1) {
    uint32_t pair;
    __asm__ volatile("sxtb16 %[pair], %[weights]\n\t"
                     "sxtb16 %[weights], %[weights], ror #8\n\t"
                     "smlad %[a0], %[pair], %[x0], %[a0]\n\t"
                     "smlad %[a1], %[pair], %[x1], %[a1]\n\t"
                     "smlad %[b0], %[weights], %[x0], %[b0]\n\t"
                     "smlad %[b1], %[weights], %[x1], %[b1]"
                     : [a0] "+r"(*a0), [a1] "+r"(*a1), [b0] "+r"(*b0), [b1] "+r"(*b1),
                       [weights] "+r"(weights), [pair] "=&r"(pair)
                     : [x0] "r"(x0), [x1] "r"(x1));
}

/* The same for four columns, a to d, with two inputs of one position. */
DC_INLINE void dc_smlad_four_by_one(uint32_t first, uint32_t second, uint32_t x, int32_t *a,
                                    int32_t *b, int32_t *c, int32_t *d) {
    uint32_t pair;
    __asm__ volatile("sxtb16 %[pair], %[first]\n\t"
                     "sxtb16 %[first], %[first], ror #8\n\t"
                     "smlad %[a], %[pair], %[x], %[a]\n\t"
                     "smlad %[b], %[first], %[x], %[b]\n\t"
                     "sxtb16 %[pair], %[second]\n\t"
                     "sxtb16 %[second], %[second], ror #8\n\t"
                     "smlad %[c], %[pair], %[x], %[c]\n\t"
                     "smlad %[d], %[second], %[x], %[d]"
                     : [a] "+r"(*a), [b] "+r"(*b), [c] "+r"(*c), [d] "+r"(*d), [first] "+r"(first),
                       [second] "+r"(second), [pair] "=&r"(pair)
                     : [x] "r"(x));
}

#endif

/*
 * Processes the next tap: adds its weight times at[0 .. 3] and at[next .. next + 3]. 19 cycles.
 */
DC_INLINE void dc_smla_eight(const dc_tap **taps, const int8_t **at, int32_t next, int32_t *a0,
                             int32_t *a1, int32_t *a2, int32_t *a3, int32_t *b0, int32_t *b1,
                             int32_t *b2, int32_t *b3) {
#if DC_DSP_INSTRUCTIONS
    if (__builtin_constant_p(next)) {
        const uint32_t tap = dc_take_tap(taps, at);
        dc_smla_four(tap, *at, 0, a0, a1, a2, a3);
        dc_smla_four(tap, *at, next, b0, b1, b2, b3);
        return;
    }
#endif
    const uint32_t tap = *(*taps)++;
    const int32_t weight = dc_bottom(tap);
    const int8_t *const x = *at += tap >> 16;
    *a0 += weight * x[0];
    *a1 += weight * x[1];
    *a2 += weight * x[2];
    *a3 += weight * x[3];
    *b0 += weight * x[next];
    *b1 += weight * x[next + 1];
    *b2 += weight * x[next + 2];
    *b3 += weight * x[next + 3];
}

/* The same for at[0, 2, 4, 6] and at[next + 0, 2, 4, 6]; 21 cycles. */
DC_INLINE void dc_smla_eight_by_two(const dc_tap **taps, const int8_t **at, int32_t next,
                                    int32_t *a0, int32_t *a1, int32_t *a2, int32_t *a3, int32_t *b0,
                                    int32_t *b1, int32_t *b2, int32_t *b3) {
#if DC_DSP_INSTRUCTIONS
    if (__builtin_constant_p(next)) {
        const uint32_t tap = dc_take_tap(taps, at);
        dc_smla_four_by_two(tap, *at, 0, a0, a1, a2, a3);
        dc_smla_four_by_two(tap, *at, next, b0, b1, b2, b3);
        return;
    }
#endif
    const uint32_t tap = *(*taps)++;
    const int32_t weight = dc_bottom(tap);
    const int8_t *const x = *at += tap >> 16;
    *a0 += weight * x[0];
    *a1 += weight * x[2];
    *a2 += weight * x[4];
    *a3 += weight * x[6];
    *b0 += weight * x[next];
    *b1 += weight * x[next + 2];
    *b2 += weight * x[next + 4];
    *b3 += weight * x[next + 6];
}

/*
 * Like dc_smla_eight, into words of two sums, low + high * 2^16: one multiplication updates both.
 * The inputs are unsigned bytes, so the low half never borrows from the high half. 15 cycles.
 */
DC_INLINE void dc_mla_eight(const dc_tap **taps, const int8_t **at, int32_t next, uint32_t *a02,
                            uint32_t *a13, uint32_t *b02, uint32_t *b13) {
#if DC_DSP_INSTRUCTIONS
    if (__builtin_constant_p(next)) {
        const uint32_t tap = dc_take_tap(taps, at);
        const uint32_t first = dc_load_here(*at, 0), second = dc_load_here(*at, next);
        const uint32_t weight = (uint32_t)dc_bottom(tap);
        dc_mla_four(weight, first, a02, a13);
        dc_mla_four(weight, second, b02, b13);
        return;
    }
#endif
    const uint32_t tap = *(*taps)++, weight = (uint32_t)dc_bottom(tap);
    const int8_t *const x = *at += tap >> 16;
    const uint32_t first = dc_load_word(x), second = dc_load_word(x + next);
    *a02 += (first & 0x00ff00ff) * weight;
    *a13 += (first >> 8 & 0x00ff00ff) * weight;
    *b02 += (second & 0x00ff00ff) * weight;
    *b13 += (second >> 8 & 0x00ff00ff) * weight;
}

/* The same for at[0 .. 7] and at[next .. next + 7]. 28 cycles. */
DC_INLINE void dc_mla_sixteen(const dc_tap **taps, const int8_t **at, int32_t next, uint32_t *a02,
                              uint32_t *a13, uint32_t *a46, uint32_t *a57, uint32_t *b02,
                              uint32_t *b13, uint32_t *b46, uint32_t *b57) {
#if DC_DSP_INSTRUCTIONS
    if (__builtin_constant_p(next)) {
        const uint32_t tap = dc_take_tap(taps, at), weight = (uint32_t)dc_bottom(tap);
        dc_mla_four(weight, dc_load_here(*at, 0), a02, a13);
        dc_mla_four(weight, dc_load_here(*at, 4), a46, a57);
        dc_mla_four(weight, dc_load_here(*at, next), b02, b13);
        dc_mla_four(weight, dc_load_here(*at, next + 4), b46, b57);
        return;
    }
#endif
    const dc_tap *tap = *taps;
    const int8_t *x = *at;
    dc_mla_eight(taps, at, next, a02, a13, b02, b13);
    x += 4;
    dc_mla_eight(&tap, &x, next, a46, a57, b46, b57);
}

/*
 * Two columns of a panel (encodings/panel.h): adds the products of four channels, a to d, at two
 * positions, 0 and 1. A word of x holds two int16; the words of position 1 are `next` bytes after
 * those of position 0. 18 cycles.
 */
DC_INLINE void dc_smlad_four_by_two(const uint8_t **values, const uint32_t **x, int32_t next,
                                    int32_t *a0, int32_t *a1, int32_t *b0, int32_t *b1, int32_t *c0,
                                    int32_t *c1, int32_t *d0, int32_t *d1) {
#if DC_DSP_INSTRUCTIONS
    if (__builtin_constant_p(next)) {
        uint32_t x0, x1;
        dc_take_inputs(x, next, &x0, &x1);
        dc_smlad_two_by_two(dc_take_weights(values), x0, x1, a0, a1, b0, b1);
        dc_smlad_two_by_two(dc_take_weights(values), x0, x1, c0, c1, d0, d1);
        return;
    }
#endif
    const uint32_t x0 = **x, x1 = (*x)[next / 4];
    const uint32_t first = dc_load_word(*values), second = dc_load_word(*values + 4);
    *a0 = dc_smlad(dc_sxtb16(first), x0, *a0);
    *a1 = dc_smlad(dc_sxtb16(first), x1, *a1);
    *b0 = dc_smlad(dc_sxtb16_ror8(first), x0, *b0);
    *b1 = dc_smlad(dc_sxtb16_ror8(first), x1, *b1);
    *c0 = dc_smlad(dc_sxtb16(second), x0, *c0);
    *c1 = dc_smlad(dc_sxtb16(second), x1, *c1);
    *d0 = dc_smlad(dc_sxtb16_ror8(second), x0, *d0);
    *d1 = dc_smlad(dc_sxtb16_ror8(second), x1, *d1);
    *values += 8;
    *x += 1;
}

/* Four columns of a panel at one position: x holds four int8. 25 cycles. */
DC_INLINE void dc_smlad_four(const uint8_t **values, const int8_t **x, int32_t *a, int32_t *b,
                             int32_t *c, int32_t *d) {
#if DC_DSP_INSTRUCTIONS
    uint32_t odd, first, second;
    __asm__ volatile("ldr %[odd], [%[x]], #4\n\t"
                     "ldr %[first], [%[values]], #4\n\t"
                     "ldr %[second], [%[values]], #4"
                     : [odd] "=&r"(odd), [first] "=&r"(first), [second] "=&r"(second),
                       [values] "+r"(*values), [x] "+r"(*x)
                     :
                     : "memory");
    const uint32_t even = dc_sxtb16(odd);
    dc_smlad_four_by_one(first, second, even, a, b, c, d);
    odd = dc_sxtb16_ror8(odd);
    __asm__ volatile("ldr %[first], [%[values]], #4\n\t"
                     "ldr %[second], [%[values]], #4"
                     : [first] "=&r"(first), [second] "=&r"(second), [values] "+r"(*values)
                     :
                     : "memory");
    dc_smlad_four_by_one(first, second, odd, a, b, c, d);
#else
    const uint32_t word = dc_load_word(*x);
    const uint32_t halves[2] = {dc_sxtb16(word), dc_sxtb16_ror8(word)};
    for (int32_t i = 0; i < 2; ++i, *values += 8) {
        const uint32_t first = dc_load_word(*values), second = dc_load_word(*values + 4);
        *a = dc_smlad(dc_sxtb16(first), halves[i], *a);
        *b = dc_smlad(dc_sxtb16_ror8(first), halves[i], *b);
        *c = dc_smlad(dc_sxtb16(second), halves[i], *c);
        *d = dc_smlad(dc_sxtb16_ror8(second), halves[i], *d);
    }
    *x += 4;
#endif
}

#endif
