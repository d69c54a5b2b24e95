/*
 * Shared by the kernels for the vector extension (MVE or Helium, Cortex-M55): dot products and
 * requantization, four results at a time.
 */
#ifndef DEEPCOMPRESS_MVE_H
#define DEEPCOMPRESS_MVE_H

#include "cpu.h"

#if DC_HAS_MVE

#include <arm_mve.h>

#include "requantize.h"
#include "weights.h"

/*
 * The dot products of one vector with four, each int8_t [count]; count is above 0. They fit 32
 * bits: the compiler refuses a layer where |bias| + 128 * sum |weight| does not. 10 instructions
 * for 64 products. In assembly, because gcc before 14 does not generate loops whose last iteration
 * processes the remainder.
 */
DC_INLINE int32x4_t dc_dot_by_four(const int8_t *one, const int8_t *a, const int8_t *b,
                                   const int8_t *c, const int8_t *d, int32_t count) {
    int32_t sum_a = 0, sum_b = 0, sum_c = 0, sum_d = 0;
    int8x16_t x, y;
    __asm__("dlstp.8 lr, %[count]\n"
            "1:\n\t"
            "vldrb.8 %q[x], [%[one]], #16\n\t"
            "vldrb.8 %q[y], [%[a]], #16\n\t"
            "vmladava.s8 %[sum_a], %q[x], %q[y]\n\t"
            "vldrb.8 %q[y], [%[b]], #16\n\t"
            "vmladava.s8 %[sum_b], %q[x], %q[y]\n\t"
            "vldrb.8 %q[y], [%[c]], #16\n\t"
            "vmladava.s8 %[sum_c], %q[x], %q[y]\n\t"
            "vldrb.8 %q[y], [%[d]], #16\n\t"
            "vmladava.s8 %[sum_d], %q[x], %q[y]\n\t"
            "letp lr, 1b"
            : [one] "+r"(one), [a] "+r"(a), [b] "+r"(b), [c] "+r"(c), [d] "+r"(d),
              [sum_a] "+Te"(sum_a), [sum_b] "+Te"(sum_b), [sum_c] "+Te"(sum_c),
              [sum_d] "+Te"(sum_d), [x] "=&w"(x), [y] "=&w"(y)
            : [count] "r"(count)
            : "lr", "memory");
    const int32x4_t sums = {sum_a, sum_b, sum_c, sum_d};
    return sums;
}

/* The values of the channels from `channel` on that a predicate of words selects. */
DC_INLINE int32x4_t dc_four_constants(const dc_constants *constants, int32_t channel,
                                      mve_pred16_t some) {
    if (constants->shared) {
        return vdupq_n_s32(dc_constant(constants, channel));
    }
    const int32x4_t stored =
        constants->width == 1   ? vldrbq_z_s32((const int8_t *)constants->data + channel, some)
        : constants->width == 2 ? vldrhq_z_s32((const int16_t *)constants->data + channel, some)
                                : vldrwq_z_s32((const int32_t *)constants->data + channel, some);
    return vshlq_s32(stored, vdupq_n_s32(constants->shift));
}

/* Like dc_requantize_int8: VRMULH is exactly the product and the shift by 32. */
DC_INLINE int32x4_t dc_requantize_four(int32x4_t sums, int32x4_t multiplier,
                                       const dc_requantize *by) {
    if (by->shift == 32) {
        const int32x4_t value = vaddq_n_s32(vrmulhq_s32(sums, multiplier), by->zero_point);
        return vminq_s32(vmaxq_s32(value, vdupq_n_s32(by->minimum)), vdupq_n_s32(by->maximum));
    }
    int32_t value[4], factor[4];
    vstrwq_s32(value, sums);
    vstrwq_s32(factor, multiplier);
    for (int32_t i = 0; i < 4; ++i) {
        value[i] = dc_requantize_int8(value[i], factor[i], by);
    }
    return vldrwq_s32(value);
}

/* The same for sums in the even and the odd lanes. Values outside int16 would be clamped anyway.
 */
DC_INLINE int16x8_t dc_requantize_eight(int32x4_t even, int32x4_t odd, int32x4_t multiplier,
                                        const dc_requantize *by) {
    if (by->shift == 32) {
        int16x8_t value = vreinterpretq_s16_s32(even);
        value = vqmovnbq_s32(value, vrmulhq_s32(even, multiplier));
        value = vqmovntq_s32(value, vrmulhq_s32(odd, multiplier));
        value = vqaddq_n_s16(value, (int16_t)by->zero_point);
        return vminq_s16(vmaxq_s16(value, vdupq_n_s16((int16_t)by->minimum)),
                         vdupq_n_s16((int16_t)by->maximum));
    }
    return vmovntq_s32(vreinterpretq_s16_s32(dc_requantize_four(even, multiplier, by)),
                       dc_requantize_four(odd, multiplier, by));
}

/* Stores the first `count` of four results: all if `count` is larger, none if it is below 0. */
DC_INLINE void dc_store_four(int8_t *to, int32x4_t results, int32_t count) {
    if (count >= 4) {
        vstrbq_s32(to, results);
    } else if (count > 0) {
        vstrbq_p_s32(to, results, vctp32q((uint32_t)count));
    }
}

/* The same for eight results. */
DC_INLINE void dc_store_eight(int8_t *to, int16x8_t results, int32_t count) {
    if (count >= 8) {
        vstrbq_s16(to, results);
    } else if (count > 0) {
        vstrbq_p_s16(to, results, vctp16q((uint32_t)count));
    }
}

#endif

#endif
