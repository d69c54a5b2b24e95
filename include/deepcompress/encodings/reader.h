/*
 * The state of a reader, shared by all sparse encodings: a position in the values and one in the
 * index. If the encoding is a constant, the compiler keeps only the fields that it uses.
 */
#ifndef DEEPCOMPRESS_ENCODINGS_READER_H
#define DEEPCOMPRESS_ENCODINGS_READER_H

#include <stdint.h>

#include "../model.h"

/* A function that several layers call, because inlining it would cost more than the calls. */
#if defined(__GNUC__)
#define DC_SHARED static __attribute__((noinline, unused))
#else
#define DC_SHARED static
#endif

/* A stored weight. */
typedef struct {
    int32_t gap; /* zeros before it */
    int32_t value;
} dc_weight;

typedef struct {
    const uint8_t *values;   /* next count or value; the first one if they are packed bits */
    uint32_t bit;            /* bits of the packed values that are read already */
    const uint8_t *codebook; /* the weights that packed values stand for */
    const uint8_t *index;    /* byte of the index that is being read */
    int32_t index_bit;       /* bits of that byte that are read already */
    const uint8_t *row;      /* first byte of the next output channel's index, if it has one */
    int32_t left;            /* remaining weights of the channel: stored weights, or all */
    int32_t in_block;        /* weights of the block that is being read */
    dc_weight next;          /* read, but not yet handed out; its gap is -1 if there is none */
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
