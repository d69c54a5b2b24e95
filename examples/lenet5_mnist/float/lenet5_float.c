/*
 * lenet5_float.c - LeNet-5 in float, as deployed by Unlu (arXiv 2007.01348): pooling is fused into
 * the convolution, so that its full output is never stored, and layers alternate two buffers.
 */
#include "lenet5_float.h"
#include "lenet5_float_weights.h"

enum { KERNEL = 5 };

/* (u / 255 - mean) / std */
static void lenet5_float_normalise(const uint8_t *pixels, float *out) {
    for (int i = 0; i < 32 * 32; ++i) {
        out[i] = ((float)pixels[i] / 255.0f - 0.1307f) / 0.3081f;
    }
}

/* One output of a convolution; `in` points to the top left of its window. */
static float lenet5_float_convolve(const float *weight, const float *in, int in_channels,
                                   int in_size) {
    float sum = 0.0f;
    for (int channel = 0; channel < in_channels; ++channel) {
        for (int y = 0; y < KERNEL; ++y) {
            for (int x = 0; x < KERNEL; ++x) {
                sum += *weight++ * in[(channel * in_size + y) * in_size + x];
            }
        }
    }
    return sum;
}

/* Convolution, ReLU and 2 x 2 maximum. Weights [out][in][5][5], activations [channel][y][x]. */
static void lenet5_float_convolve_and_pool(const float *weight, const float *bias, const float *in,
                                           int in_channels, int in_size, float *out,
                                           int out_channels) {
    const int out_size = (in_size - KERNEL + 1) / 2;
    for (int channel = 0; channel < out_channels; ++channel) {
        for (int y = 0; y < out_size; ++y) {
            for (int x = 0; x < out_size; ++x) {
                float best = 0.0f; /* ReLU: the minimum of the output */
                for (int corner = 0; corner < 4; ++corner) {
                    const float *window = in + (2 * y + corner / 2) * in_size + 2 * x + corner % 2;
                    const float sum =
                        bias[channel] + lenet5_float_convolve(weight, window, in_channels, in_size);
                    best = sum > best ? sum : best;
                }
                *out++ = best;
            }
        }
        weight += in_channels * KERNEL * KERNEL;
    }
}

/* Weights [out][in]. */
static void lenet5_float_linear(const float *weight, const float *bias, const float *in,
                                int in_size, float *out, int out_size) {
    for (int o = 0; o < out_size; ++o) {
        float sum = bias[o];
        for (int i = 0; i < in_size; ++i) {
            sum += *weight++ * in[i];
        }
        out[o] = sum;
    }
}

static void lenet5_float_relu(float *values, int size) {
    for (int i = 0; i < size; ++i) {
        values[i] = values[i] > 0.0f ? values[i] : 0.0f;
    }
}

const float *lenet5_float_infer_uint8(lenet5_float_arena *arena, const uint8_t *pixels) {
    float *const even = arena->even, *const odd = arena->odd;
    lenet5_float_normalise(pixels, even);
    lenet5_float_convolve_and_pool(lenet5_float_conv1_weight, lenet5_float_conv1_bias, even, 1, 32,
                                   odd, 6);
    lenet5_float_convolve_and_pool(lenet5_float_conv2_weight, lenet5_float_conv2_bias, odd, 6, 14,
                                   even, 16);
    lenet5_float_linear(lenet5_float_fc1_weight, lenet5_float_fc1_bias, even, 400, odd, 120);
    lenet5_float_relu(odd, 120);
    lenet5_float_linear(lenet5_float_fc2_weight, lenet5_float_fc2_bias, odd, 120, even, 84);
    lenet5_float_relu(even, 84);
    lenet5_float_linear(lenet5_float_fc3_weight, lenet5_float_fc3_bias, even, 84, odd, 10);
    return odd;
}
