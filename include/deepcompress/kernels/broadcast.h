/*
 * Two tensors value by value, where one of them may be read again along some axes: the loops that
 * add.h and mul.h have in common.
 */
#ifndef DEEPCOMPRESS_KERNELS_BROADCAST_H
#define DEEPCOMPRESS_KERNELS_BROADCAST_H

#include <stdint.h>

/* Sizes of three nested loops, and how far each input moves at a turn; 0 reads the same again. */
typedef struct {
    int32_t outer, middle, inner;
    int32_t first_outer, first_middle, first_inner;
    int32_t second_outer, second_middle, second_inner;
} dc_broadcast;

#endif
