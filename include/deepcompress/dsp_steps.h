/*
 * The inner steps of convolutions and linear layers. With the DSP extension's instructions, many in
 * one statement, for the compiler would load ahead and then spill the sums: of up to fourteen
 * registers, all there are. Cycles are of Cortex-M4 without wait states.
 *
 * `next`, a distance in bytes, is a constant below 4088; where the compiler does not know it (-Og)
 * it takes the same step written in C, as a PC does.
 */
#ifndef DEEPCOMPRESS_DSP_STEPS_H
#define DEEPCOMPRESS_DSP_STEPS_H

#include "dsp.h"

/*
 * A weight in the low half; in the high one, unsigned, by how many bytes its inputs lie behind
 * those of the weight before it.
 */
typedef uint32_t dc_tap;

/*
 * Takes the next tap: adds its weight times at[0 .. 3] and times at[next .. next + 3]. 19 cycles.
 */
DC_INLINE void dc_smla_eight(const dc_tap **taps, const int8_t **at, int32_t next, int32_t *a0,
                             int32_t *a1, int32_t *a2, int32_t *a3, int32_t *b0, int32_t *b1,
                             int32_t *b2, int32_t *b3) {
#if DC_DSP_INSTRUCTIONS
    if (__builtin_constant_p(next)) {
        uint32_t tap, word, pair;
        __asm__("ldr %[tap], [%[taps]], #4\n\t"
                "add %[at], %[at], %[tap], lsr #16\n\t"
                "ldr %[word], [%[at]]\n\t"
                "sxtb16 %[pair], %[word]\n\t"
                "smlabb %[a0], %[pair], %[tap], %[a0]\n\t"
                "smlatb %[a2], %[pair], %[tap], %[a2]\n\t"
                "sxtb16 %[word], %[word], ror #8\n\t"
                "smlabb %[a1], %[word], %[tap], %[a1]\n\t"
                "smlatb %[a3], %[word], %[tap], %[a3]\n\t"
                "ldr %[word], [%[at], %[next]]\n\t"
                "sxtb16 %[pair], %[word]\n\t"
                "smlabb %[b0], %[pair], %[tap], %[b0]\n\t"
                "smlatb %[b2], %[pair], %[tap], %[b2]\n\t"
                "sxtb16 %[word], %[word], ror #8\n\t"
                "smlabb %[b1], %[word], %[tap], %[b1]\n\t"
                "smlatb %[b3], %[word], %[tap], %[b3]"
                : [taps] "+r"(*taps), [at] "+r"(*at), [a0] "+r"(*a0), [a1] "+r"(*a1),
                  [a2] "+r"(*a2), [a3] "+r"(*a3), [b0] "+r"(*b0), [b1] "+r"(*b1), [b2] "+r"(*b2),
                  [b3] "+r"(*b3), [tap] "=&r"(tap), [word] "=&r"(word), [pair] "=&r"(pair)
                : [next] "i"(next)
                : "memory");
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
        uint32_t tap, word, pair;
        __asm__("ldr %[tap], [%[taps]], #4\n\t"
                "add %[at], %[at], %[tap], lsr #16\n\t"
                "ldr %[pair], [%[at]]\n\t"
                /* Not from 4 on: that would read a byte behind the last input. */
                "ldr %[word], [%[at], #3]\n\t"
                "sxtb16 %[pair], %[pair]\n\t"
                "sxtb16 %[word], %[word], ror #8\n\t"
                "smlabb %[a0], %[pair], %[tap], %[a0]\n\t"
                "smlatb %[a1], %[pair], %[tap], %[a1]\n\t"
                "smlabb %[a2], %[word], %[tap], %[a2]\n\t"
                "smlatb %[a3], %[word], %[tap], %[a3]\n\t"
                "ldr %[pair], [%[at], %[next]]\n\t"
                "ldr %[word], [%[at], %[next] + 3]\n\t"
                "sxtb16 %[pair], %[pair]\n\t"
                "sxtb16 %[word], %[word], ror #8\n\t"
                "smlabb %[b0], %[pair], %[tap], %[b0]\n\t"
                "smlatb %[b1], %[pair], %[tap], %[b1]\n\t"
                "smlabb %[b2], %[word], %[tap], %[b2]\n\t"
                "smlatb %[b3], %[word], %[tap], %[b3]"
                : [taps] "+r"(*taps), [at] "+r"(*at), [a0] "+r"(*a0), [a1] "+r"(*a1),
                  [a2] "+r"(*a2), [a3] "+r"(*a3), [b0] "+r"(*b0), [b1] "+r"(*b1), [b2] "+r"(*b2),
                  [b3] "+r"(*b3), [tap] "=&r"(tap), [word] "=&r"(word), [pair] "=&r"(pair)
                : [next] "i"(next)
                : "memory");
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
 * As dc_smla_eight, into words of two sums, bottom + top * 2^16: one multiplication serves both.
 * The inputs are unsigned bytes, so that no bottom takes from its top. 15 cycles.
 */
DC_INLINE void dc_mla_eight(const dc_tap **taps, const int8_t **at, int32_t next, uint32_t *a02,
                            uint32_t *a13, uint32_t *b02, uint32_t *b13) {
#if DC_DSP_INSTRUCTIONS
    if (__builtin_constant_p(next)) {
        uint32_t tap, first, second, pair;
        __asm__("ldr %[tap], [%[taps]], #4\n\t"
                "add %[at], %[at], %[tap], lsr #16\n\t"
                "ldr %[first], [%[at]]\n\t"
                "ldr %[second], [%[at], %[next]]\n\t"
                "sxth %[tap], %[tap]\n\t"
                "uxtb16 %[pair], %[first]\n\t"
                "mla %[a02], %[pair], %[tap], %[a02]\n\t"
                "uxtb16 %[first], %[first], ror #8\n\t"
                "mla %[a13], %[first], %[tap], %[a13]\n\t"
                "uxtb16 %[pair], %[second]\n\t"
                "mla %[b02], %[pair], %[tap], %[b02]\n\t"
                "uxtb16 %[second], %[second], ror #8\n\t"
                "mla %[b13], %[second], %[tap], %[b13]"
                : [taps] "+r"(*taps), [at] "+r"(*at), [a02] "+r"(*a02), [a13] "+r"(*a13),
                  [b02] "+r"(*b02), [b13] "+r"(*b13), [tap] "=&r"(tap), [first] "=&r"(first),
                  [second] "=&r"(second), [pair] "=&r"(pair)
                : [next] "i"(next)
                : "memory");
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
        uint32_t tap, word, pair;
        __asm__("ldr %[tap], [%[taps]], #4\n\t"
                "add %[at], %[at], %[tap], lsr #16\n\t"
                "ldr %[word], [%[at]]\n\t"
                "sxth %[tap], %[tap]\n\t"
                "uxtb16 %[pair], %[word]\n\t"
                "mla %[a02], %[pair], %[tap], %[a02]\n\t"
                "uxtb16 %[pair], %[word], ror #8\n\t"
                "ldr %[word], [%[at], #4]\n\t"
                "mla %[a13], %[pair], %[tap], %[a13]\n\t"
                "uxtb16 %[pair], %[word]\n\t"
                "mla %[a46], %[pair], %[tap], %[a46]\n\t"
                "uxtb16 %[pair], %[word], ror #8\n\t"
                "ldr %[word], [%[at], %[next]]\n\t"
                "mla %[a57], %[pair], %[tap], %[a57]\n\t"
                "uxtb16 %[pair], %[word]\n\t"
                "mla %[b02], %[pair], %[tap], %[b02]\n\t"
                "uxtb16 %[pair], %[word], ror #8\n\t"
                "ldr %[word], [%[at], %[next] + 4]\n\t"
                "mla %[b13], %[pair], %[tap], %[b13]\n\t"
                "uxtb16 %[pair], %[word]\n\t"
                "mla %[b46], %[pair], %[tap], %[b46]\n\t"
                "uxtb16 %[pair], %[word], ror #8\n\t"
                "mla %[b57], %[pair], %[tap], %[b57]"
                : [taps] "+r"(*taps), [at] "+r"(*at), [a02] "+r"(*a02), [a13] "+r"(*a13),
                  [a46] "+r"(*a46), [a57] "+r"(*a57), [b02] "+r"(*b02), [b13] "+r"(*b13),
                  [b46] "+r"(*b46), [b57] "+r"(*b57), [tap] "=&r"(tap), [word] "=&r"(word),
                  [pair] "=&r"(pair)
                : [next] "i"(next)
                : "memory");
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
 * positions, 0 and 1. x has two int16 in a word, those of position 1 lie `next` behind those of
 * position 0. 18 cycles.
 */
DC_INLINE void dc_smlad_four_by_two(const uint8_t **values, const uint32_t **x, int32_t next,
                                    int32_t *a0, int32_t *a1, int32_t *b0, int32_t *b1, int32_t *c0,
                                    int32_t *c1, int32_t *d0, int32_t *d1) {
#if DC_DSP_INSTRUCTIONS
    if (__builtin_constant_p(next)) {
        uint32_t x0, x1, word, pair;
        __asm__(
            "ldr %[x1], [%[x], %[next]]\n\t"
            "ldr %[x0], [%[x]], #4\n\t"
            "ldr %[word], [%[values]], #4\n\t"
            "sxtb16 %[pair], %[word]\n\t"
            "sxtb16 %[word], %[word], ror #8\n\t"
            "smlad %[a0], %[pair], %[x0], %[a0]\n\t"
            "smlad %[a1], %[pair], %[x1], %[a1]\n\t"
            "smlad %[b0], %[word], %[x0], %[b0]\n\t"
            "smlad %[b1], %[word], %[x1], %[b1]\n\t"
            "ldr %[word], [%[values]], #4\n\t"
            "sxtb16 %[pair], %[word]\n\t"
            "sxtb16 %[word], %[word], ror #8\n\t"
            "smlad %[c0], %[pair], %[x0], %[c0]\n\t"
            "smlad %[c1], %[pair], %[x1], %[c1]\n\t"
            "smlad %[d0], %[word], %[x0], %[d0]\n\t"
            "smlad %[d1], %[word], %[x1], %[d1]"
            : [values] "+r"(*values), [x] "+r"(*x), [a0] "+r"(*a0), [a1] "+r"(*a1), [b0] "+r"(*b0),
              [b1] "+r"(*b1), [c0] "+r"(*c0), [c1] "+r"(*c1), [d0] "+r"(*d0), [d1] "+r"(*d1),
              [x0] "=&r"(x0), [x1] "=&r"(x1), [word] "=&r"(word), [pair] "=&r"(pair)
            : [next] "i"(next)
            : "memory");
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

/* Four columns of a panel at one position: x has four int8. 25 cycles. */
DC_INLINE void dc_smlad_four(const uint8_t **values, const int8_t **x, int32_t *a, int32_t *b,
                             int32_t *c, int32_t *d) {
#if DC_DSP_INSTRUCTIONS
    uint32_t even, odd, first, second, pair;
    __asm__("ldr %[odd], [%[x]], #4\n\t"
            "ldr %[first], [%[values]], #4\n\t"
            "ldr %[second], [%[values]], #4\n\t"
            "sxtb16 %[even], %[odd]\n\t"
            "sxtb16 %[odd], %[odd], ror #8\n\t"
            "sxtb16 %[pair], %[first]\n\t"
            "sxtb16 %[first], %[first], ror #8\n\t"
            "smlad %[a], %[pair], %[even], %[a]\n\t"
            "smlad %[b], %[first], %[even], %[b]\n\t"
            "sxtb16 %[pair], %[second]\n\t"
            "sxtb16 %[second], %[second], ror #8\n\t"
            "smlad %[c], %[pair], %[even], %[c]\n\t"
            "smlad %[d], %[second], %[even], %[d]\n\t"
            "ldr %[first], [%[values]], #4\n\t"
            "ldr %[second], [%[values]], #4\n\t"
            "sxtb16 %[pair], %[first]\n\t"
            "sxtb16 %[first], %[first], ror #8\n\t"
            "smlad %[a], %[pair], %[odd], %[a]\n\t"
            "smlad %[b], %[first], %[odd], %[b]\n\t"
            "sxtb16 %[pair], %[second]\n\t"
            "sxtb16 %[second], %[second], ror #8\n\t"
            "smlad %[c], %[pair], %[odd], %[c]\n\t"
            "smlad %[d], %[second], %[odd], %[d]"
            : [values] "+r"(*values), [x] "+r"(*x), [a] "+r"(*a), [b] "+r"(*b), [c] "+r"(*c),
              [d] "+r"(*d), [even] "=&r"(even), [odd] "=&r"(odd), [first] "=&r"(first),
              [second] "=&r"(second), [pair] "=&r"(pair)
            :
            : "memory");
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
