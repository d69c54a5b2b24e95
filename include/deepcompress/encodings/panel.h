/*
 * Dot products with weights in panels (platformio_plugin/deepcompress/encodings/panel.py), which
 * interleave the weights of four output channels, or of two in the last panel.
 *
 *   panel = for each pair of columns: one or two of (a[k], b[k], a[k + 1], b[k + 1])
 *
 * Accumulators fit 32 bits: the compiler refuses a layer where |bias| + 128 * sum |weight| does
 * not.
 */
#ifndef DEEPCOMPRESS_ENCODINGS_PANEL_H
#define DEEPCOMPRESS_ENCODINGS_PANEL_H

#include "../dsp_steps.h"

/* Adds the products of two columns of two channels; x holds the inputs, two int16. */
DC_INLINE void dc_panel_step(uint32_t values, uint32_t x, int32_t *a, int32_t *b) {
    *a = dc_smlad(dc_sxtb16(values), x, *a);
    *b = dc_smlad(dc_sxtb16_ror8(values), x, *b);
}

/* Sums of four output channels at two positions. */
typedef struct {
    int32_t a[2], b[2], c[2], d[2];
} dc_panel_sums;

/*
 * Adds the products of four channels at two positions.
 *   values [pairs][8], x [2][pairs]: the int16 of two columns in a word
 */
DC_INLINE dc_panel_sums dc_panel_four(const uint8_t *values, const uint32_t *x, int32_t pairs,
                                      int32_t a0, int32_t b0, int32_t c0, int32_t d0) {
    int32_t a1 = a0, b1 = b0, c1 = c0, d1 = d0;
    const uint32_t *const end = x + pairs;
    const int32_t next = 4 * pairs;
    for (int32_t rest = pairs % 4; rest > 0; --rest) {
        dc_smlad_four_by_two(&values, &x, next, &a0, &a1, &b0, &b1, &c0, &c1, &d0, &d1);
    }
    while (x < end) {
        dc_smlad_four_by_two(&values, &x, next, &a0, &a1, &b0, &b1, &c0, &c1, &d0, &d1);
        dc_smlad_four_by_two(&values, &x, next, &a0, &a1, &b0, &b1, &c0, &c1, &d0, &d1);
        dc_smlad_four_by_two(&values, &x, next, &a0, &a1, &b0, &b1, &c0, &c1, &d0, &d1);
        dc_smlad_four_by_two(&values, &x, next, &a0, &a1, &b0, &b1, &c0, &c1, &d0, &d1);
    }
    const dc_panel_sums sums = {{a0, a1}, {b0, b1}, {c0, c1}, {d0, d1}};
    return sums;
}

/* The same for two channels. values [pairs][4] */
DC_INLINE dc_panel_sums dc_panel_two(const uint8_t *values, const uint32_t *x, int32_t pairs,
                                     int32_t a0, int32_t b0) {
    int32_t a1 = a0, b1 = b0;
    for (int32_t i = 0; i < pairs; ++i, values += 4) {
        dc_panel_step(dc_load_word(values), x[i], &a0, &b0);
        dc_panel_step(dc_load_word(values), x[i + pairs], &a1, &b1);
    }
    const dc_panel_sums sums = {{a0, a1}, {b0, b1}, {0, 0}, {0, 0}};
    return sums;
}

#endif
