/*
 * The constants of one layer as a kernel takes them.
 */
#ifndef DEEPCOMPRESS_WEIGHTS_H
#define DEEPCOMPRESS_WEIGHTS_H

#include <stdint.h>

/* How the weights lie in flash; docs/formats.md draws each. */
typedef enum {
    DC_DENSE,
    DC_DELTA,
    DC_DELTA4,
    DC_BITMAP,
    DC_BLOCK,
    DC_CODEBOOK,
    DC_HUFFMAN
} dc_encoding;

typedef struct {
    dc_encoding encoding;
    const void *values;   /* int8_t [out][k] if dense, else the values, and what goes with them */
    const uint8_t *index; /* where the values belong, if the encoding keeps that apart */
    const int32_t *bias;  /* [out], the input's zero point folded in */
    const int32_t *multiplier; /* [out], see requantize.h */
    const uint8_t *codebook;   /* the weights that packed values stand for, if they are */
} dc_weights;

#endif
