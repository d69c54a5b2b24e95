/*
 * paper.h - the sparse int8 layers of the paper (arXiv 2103.15972) re-implemented for the
 * benchmark. Activations are [channel][y][x].
 */
#ifndef PEERS_PAPER_H
#define PEERS_PAPER_H

#include <stdint.h>

/* The non-zero weights in order: the distance from the previous one, and the value. */
typedef struct {
    const uint8_t *delta;
    const int8_t *value;
    const float *bias;
    float scale; /* real = scale * value, one scale for the layer */
} paper_weights;

/* real = scale * (q - zero_point) */
typedef struct {
    float scale;
    int32_t zero_point;
} paper_quantization;

typedef struct {
    int32_t in_channels, in_size, out_channels, out_size, kernel, pool; /* all are square */
    paper_quantization in, out;
    paper_weights weights; /* [out][in][y][x] */
} paper_convolution;

typedef struct {
    int32_t in_size, out_size;
    int relu;
    paper_quantization in, out;
    paper_weights weights; /* [out][in] */
} paper_linear;

void paper_convolve(const paper_convolution *l, const int8_t *in, int8_t *out);
void paper_connect(const paper_linear *l, const int8_t *in, int8_t *out);

#endif
