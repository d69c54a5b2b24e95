/*
 * Reader of weights in blocks of four (platformio_plugin/deepcompress/encodings/block.py).
 *
 *   values         = output channel*
 *   output channel = count, value*rest, (gap, value*4)*count
 *   rest           = number of weights of an output channel modulo 4; these weights come first
 *   gap            = blocks of zeros since the previous block of this channel, 0 .. 255;
 *                    a block of zeros bridges a longer one
 */
#ifndef DEEPCOMPRESS_ENCODINGS_BLOCK_H
#define DEEPCOMPRESS_ENCODINGS_BLOCK_H

#include "../dsp.h"
#include "reader.h"

/* Begins the next output channel, of `columns` weights. */
DC_INLINE void dc_block_channel(dc_reader *reader, int32_t columns) {
    reader->in_block = columns % 4;
    reader->left = 4 * dc_read_count(reader) + reader->in_block;
}

/* The next weight, zero or not. */
DC_INLINE void dc_block_next(dc_reader *reader, dc_weight *weight) {
    weight->gap = 0;
    if (reader->in_block == 0) {
        weight->gap = 4 * *reader->values++;
        reader->in_block = 4;
    }
    --reader->in_block;
    weight->value = (int8_t)*reader->values++;
}

/* Adds a whole output channel's products with x[columns] to a sum. */
DC_INLINE int32_t dc_block_dot(dc_reader *reader, int32_t columns, const int8_t *x, int32_t sum) {
    int32_t count = dc_read_count(reader);
    for (int32_t rest = columns % 4; rest > 0; --rest) {
        sum += (int8_t)*reader->values++ * *x++;
    }
    for (; count > 0; --count) {
        x += 4 * *reader->values++;
        sum = dc_dot_four(dc_load_word(reader->values), dc_load_word(x), sum);
        reader->values += 4;
        x += 4;
    }
    return sum;
}

#endif
