/*
 * Reader of delta-encoded weights (platformio_plugin/deepcompress/encodings/delta.py).
 *
 *   values = output channel*
 *   output channel = count, (gap, value)*count
 *
 *   gap    zeros since the previous weight of this output channel, 0 .. 255
 *   value  int8; a pair (255, 0) bridges a longer gap
 */
#ifndef DEEPCOMPRESS_ENCODINGS_DELTA_H
#define DEEPCOMPRESS_ENCODINGS_DELTA_H

#include "../dsp.h"
#include "reader.h"

DC_INLINE void dc_delta_next(dc_reader *reader, dc_weight *weight) {
    weight->gap = *reader->values++;
    weight->value = (int8_t)*reader->values++;
}

/* Two weights with their gaps. */
DC_INLINE int32_t dc_delta_two(uint32_t pairs, const int8_t **x, int32_t sum) {
    const uint32_t values = dc_sxtb16_ror8(pairs);
    const int8_t *at = dc_uxtab(*x, pairs);
    sum = dc_smlabb(values, (uint32_t)(int32_t)*at++, sum);
    at = dc_uxtab_ror16(at, pairs);
    sum = dc_smlatb(values, (uint32_t)(int32_t)*at++, sum);
    *x = at;
    return sum;
}

/* Four weights with their gaps. */
DC_INLINE int32_t dc_delta_four(const uint8_t *pairs, const int8_t **x, int32_t sum) {
    const uint32_t first = dc_load_word(pairs), second = dc_load_word(pairs + 4);
    return dc_delta_two(second, x, dc_delta_two(first, x, sum));
}

/*
 * Adds a whole output channel's products with x to a sum. 23 cycles for four weights on Cortex-M4:
 * one load reads the gaps and the values of two weights.
 */
DC_INLINE int32_t dc_delta_dot(dc_reader *reader, const int8_t *x, int32_t sum) {
    int32_t count = dc_read_count(reader);
    const uint8_t *pairs = reader->values;
    for (; count >= 8; count -= 8, pairs += 16) {
        sum = dc_delta_four(pairs, &x, sum);
        sum = dc_delta_four(pairs + 8, &x, sum);
    }
    if (count >= 4) {
        sum = dc_delta_four(pairs, &x, sum);
        count -= 4;
        pairs += 8;
    }
    for (; count > 0; --count, pairs += 2) {
        x += pairs[0];
        sum += (int8_t)pairs[1] * *x++;
    }
    reader->values = pairs;
    return sum;
}

#endif
