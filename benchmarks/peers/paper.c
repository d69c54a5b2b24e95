/*
 * paper.c - the loops of the paper (arXiv 2103.15972), re-implemented from its description: the
 * weights of an output channel are decoded into a dense row, each is tested for zero before it is
 * used, and products are computed in float, because the sums of integers may overflow. Pooling is
 * fused into the convolution, as in Unlu's loops (arXiv 2007.01348).
 */
#include "paper.h"

enum { ROW = 6 * 5 * 5 }; /* the maximum number of weights per output channel in LeNet-5 */

/* The read position in a layer's list of weights: the entry, and its index among all weights. */
typedef struct {
    const paper_weights *weights;
    uint32_t entry, place;
} cursor;

static int8_t weight_at(cursor *at, uint32_t place) {
    while (at->place < place) {
        at->place += at->weights->delta[++at->entry];
    }
    return at->place == place ? at->weights->value[at->entry] : 0;
}

static float at_least_zero(float x) {
    return x > 0.0f ? x : 0.0f;
}

static int8_t quantize(float x, paper_quantization by) {
    const int32_t q = (int32_t)(x / by.scale + (float)by.zero_point);
    return (int8_t)(q > 127 ? 127 : q < -128 ? -128 : q);
}

/* One output of a convolution; `in` points to the top left of its window. */
static float window_sum(const paper_convolution *l, const int8_t *row, const int8_t *in) {
    const int32_t k = l->kernel, size = l->in_size;
    float sum = 0.0f;
    for (int32_t y = 0; y < k; ++y) {
        for (int32_t x = 0; x < k; ++x) {
            for (int32_t channel = 0; channel < l->in_channels; ++channel) {
                const int8_t weight = row[(channel * k + y) * k + x];
                if (weight != 0) {
                    const int32_t q = in[(channel * size + y) * size + x] - l->in.zero_point;
                    sum += (float)q * l->in.scale * (float)weight;
                }
            }
        }
    }
    return sum * l->weights.scale;
}

void paper_convolve(const paper_convolution *l, const int8_t *in, int8_t *out) {
    static int8_t row[ROW];
    const int32_t row_size = l->in_channels * l->kernel * l->kernel;
    cursor at = {&l->weights, 0, l->weights.delta[0]};
    for (int32_t channel = 0; channel < l->out_channels; ++channel) {
        for (int32_t i = 0; i < row_size; ++i) {
            row[i] = weight_at(&at, (uint32_t)(channel * row_size + i));
        }
        for (int32_t position = 0; position < l->out_size * l->out_size; ++position) {
            const int32_t top = position / l->out_size * l->pool;
            const int32_t left = position % l->out_size * l->pool;
            float best = 0.0f; /* ReLU: the minimum of the output */
            for (int32_t corner = 0; corner < l->pool * l->pool; ++corner) {
                const int32_t y = top + corner / l->pool, x = left + corner % l->pool;
                const float sum = at_least_zero(window_sum(l, row, in + y * l->in_size + x) +
                                                l->weights.bias[channel]);
                best = sum > best ? sum : best;
            }
            *out++ = quantize(best, l->out);
        }
    }
}

void paper_connect(const paper_linear *l, const int8_t *in, int8_t *out) {
    cursor at = {&l->weights, 0, l->weights.delta[0]};
    for (int32_t o = 0; o < l->out_size; ++o) {
        float sum = 0.0f;
        for (int32_t i = 0; i < l->in_size; ++i) {
            const int8_t weight = weight_at(&at, (uint32_t)(o * l->in_size + i));
            if (weight != 0) {
                sum += (float)(in[i] - l->in.zero_point) * l->in.scale * (float)weight;
            }
        }
        sum = sum * l->weights.scale + l->weights.bias[o];
        out[o] = quantize(l->relu ? at_least_zero(sum) : sum, l->out);
    }
}
