/*
 * Reader of delta-encoded weights (platformio_plugin/deepcompress/encodings/delta.py).
 *
 *   stream = output channel*
 *   output channel = count, (gap, value)*count       count = 255* rest, rest < 255
 *
 *   gap    zeros since the previous weight of this output channel, 0 .. 255
 *   value  int8; a pair (255, 0) bridges a longer gap
 */
#ifndef DEEPCOMPRESS_ENCODINGS_DELTA_H
#define DEEPCOMPRESS_ENCODINGS_DELTA_H

#include <stdint.h>

#include "../model.h"

/* Number of pairs of the output channel at `*stream`, which moves on to the first of them. */
DC_INLINE int32_t dc_delta_count(const uint8_t **stream) {
    const uint8_t *at = *stream;
    int32_t count = 0;
    while (*at == 255) {
        count += *at++;
    }
    count += *at++;
    *stream = at;
    return count;
}

#endif
