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

#include "reader.h"

DC_INLINE void dc_delta_next(dc_reader *reader, dc_weight *weight) {
    weight->gap = *reader->values++;
    weight->value = (int8_t)*reader->values++;
}

#endif
