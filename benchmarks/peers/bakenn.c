/*
 * bakenn.c - a network that BakeNN generated under the name `net`, under the benchmark's.
 */
#include "bknn_net.h"

const void *peer_infer(const void *input) {
    static uint8_t arena[BKNN_NET_ARENA_SIZE] __attribute__((aligned(BKNN_NET_ARENA_ALIGNMENT)));
    static int8_t output[BKNN_NET_OUTPUT_BYTES];
    bknn_net_infer(arena, input, output);
    return output;
}
