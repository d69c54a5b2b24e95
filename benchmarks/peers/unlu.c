/*
 * unlu.c - gives the float LeNet-5 of examples/lenet5_mnist/float the benchmark's function name.
 */
#include "lenet5_float.h"

const void *peer_infer(const void *pixels) {
    static lenet5_float_arena arena;
    return lenet5_float_infer_uint8(&arena, pixels);
}
