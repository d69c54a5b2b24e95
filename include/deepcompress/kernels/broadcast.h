/*
 * Broadcasting of two tensors, one of which may be repeated along some axes: the loops that add.h
 * and mul.h share.
 */
#ifndef DEEPCOMPRESS_KERNELS_BROADCAST_H
#define DEEPCOMPRESS_KERNELS_BROADCAST_H

#include <stdint.h>

/* Sizes of three nested loops, and the step of each input per iteration; 0 repeats the value. */
typedef struct {
    int32_t outer, middle, inner;
    int32_t first_outer, first_middle, first_inner;
    int32_t second_outer, second_middle, second_inner;
} dc_broadcast;

#endif
