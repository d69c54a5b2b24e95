/*
 * The last step of operators whose sums are scaled by a power of two: shift, clamp, store.
 */
#ifndef DEEPCOMPRESS_KERNELS_SCALED_H
#define DEEPCOMPRESS_KERNELS_SCALED_H

#include <stdint.h>

#include "../cpu.h"
#include "../dsp.h"
#include "../requantize.h"

/* clamp(sum >> shift). The limits are constants for the compiler, which omits those of int8. */
DC_INLINE int8_t dc_scaled(int32_t sum, int32_t shift, int32_t minimum, int32_t maximum) {
    if (!DC_HAS_DSP) {
        return (int8_t)dc_clamp(sum >> shift, minimum, maximum);
    }
    int32_t value = dc_ssat8(sum >> shift);
    if (minimum > -128) {
        value = dc_maximum(value, minimum);
    }
    if (maximum < 127) {
        value = dc_minimum(value, maximum);
    }
    return (int8_t)value;
}

#endif
