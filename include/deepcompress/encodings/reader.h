/*
 * What the readers of all sparse encodings share: a place in the values and one in the index.
 */
#ifndef DEEPCOMPRESS_ENCODINGS_READER_H
#define DEEPCOMPRESS_ENCODINGS_READER_H

#include <stdint.h>

#include "../model.h"

typedef struct {
    const uint8_t *values; /* next count or value */
    const uint8_t *index;  /* byte of the index that is being read */
    const uint8_t *row;    /* first byte of the next output channel's index, if it has one */
    int32_t bit;           /* bits of that byte that are read already */
} dc_reader;

/* A count: bytes that add up, of which all but the last are 255. */
DC_INLINE int32_t dc_read_count(dc_reader *reader) {
    int32_t count = 0;
    while (*reader->values == 255) {
        count += *reader->values++;
    }
    return count + *reader->values++;
}

#endif
