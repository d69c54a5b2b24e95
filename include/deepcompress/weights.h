/*
 * The constants of one layer as a kernel takes them, and the reader of each encoding.
 */
#ifndef DEEPCOMPRESS_WEIGHTS_H
#define DEEPCOMPRESS_WEIGHTS_H

#include <stdint.h>

typedef struct {
    const void *data;          /* int8_t [out][k] if dense, uint8_t stream if delta */
    const int32_t *bias;       /* [out], the input's zero point folded in */
    const int32_t *multiplier; /* [out], see requantize.h */
} dc_weights;

#endif
