/*
 * layer.h - the parameters of a layer for a peer's kernels; layers.py writes the network that calls
 * them. Activations are [height][width][channels].
 */
#ifndef PEERS_LAYER_H
#define PEERS_LAYER_H

#include <stdint.h>

typedef struct {
    int32_t height, width, channels;
} layer_shape;

typedef struct {
    int32_t height, width;
} layer_pair;

typedef struct {
    layer_shape input, output;
    layer_pair kernel, stride, padding; /* padding above and left */
    int32_t input_offset, output_offset, minimum, maximum;
    const int8_t *weight; /* [out][height][width][in], of a depthwise layer [height][width][in] */
    const int32_t *bias;  /* [out] */
    const int32_t *multiplier; /* [out], linear [1]: the sum times multiplier * 2^(shift - 31) */
    const int32_t *shift;
} layer;

void peer_convolution(const layer *l, const int8_t *in, int8_t *out);
void peer_depthwise(const layer *l, const int8_t *in, int8_t *out);
void peer_linear(const layer *l, const int8_t *in, int8_t *out);
void peer_max_pool(const layer *l, const int8_t *in, int8_t *out);

#endif
