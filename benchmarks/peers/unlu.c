/*
 * unlu.c - the float LeNet-5 of examples/lenet5_mnist/float, under the benchmark's name.
 */
#include "lenet5_float.h"

const void *peer_infer(const void *pixels) {
    static lenet5_float_arena arena;
    return lenet5_float_infer_uint8(&arena, pixels);
}
