/*
 * esp_nn.c - layers by Espressif's ESP-NN, whose generic kernels need no scratch.
 */
#include "layer.h"

#include <esp_nn.h>

static data_dims_t dims(layer_shape shape) {
    return (data_dims_t){shape.width, shape.height, shape.channels, 1};
}

static data_2d_t pair(layer_pair p) {
    return (data_2d_t){p.width, p.height};
}

static quant_data_t per_channel(const layer *l) {
    return (quant_data_t){(int32_t *)l->shift, (int32_t *)l->multiplier};
}

void peer_convolution(const layer *l, const int8_t *in, int8_t *out) {
    const conv_params_t params = {.in_offset = l->input_offset,
                                  .out_offset = l->output_offset,
                                  .stride = pair(l->stride),
                                  .padding = pair(l->padding),
                                  .dilation = {1, 1},
                                  .activation = {l->minimum, l->maximum}};
    const quant_data_t quant = per_channel(l);
    const data_dims_t input = dims(l->input), output = dims(l->output);
    const data_dims_t filter = {l->kernel.width, l->kernel.height, input.channels, 1};
    esp_nn_conv_s8(&input, in, &filter, l->weight, l->bias, &output, out, &params, &quant);
}

void peer_depthwise(const layer *l, const int8_t *in, int8_t *out) {
    const dw_conv_params_t params = {.in_offset = l->input_offset,
                                     .out_offset = l->output_offset,
                                     .ch_mult = 1,
                                     .stride = pair(l->stride),
                                     .padding = pair(l->padding),
                                     .dilation = {1, 1},
                                     .activation = {l->minimum, l->maximum}};
    const quant_data_t quant = per_channel(l);
    const data_dims_t input = dims(l->input), output = dims(l->output);
    const data_dims_t filter = {l->kernel.width, l->kernel.height, input.channels, 1};
    esp_nn_depthwise_conv_s8(&input, in, &filter, l->weight, l->bias, &output, out, &params,
                             &quant);
}

void peer_linear(const layer *l, const int8_t *in, int8_t *out) {
    const int32_t inputs = l->input.height * l->input.width * l->input.channels;
    esp_nn_fully_connected_s8(in, l->input_offset, (uint16_t)inputs, l->weight, 0, l->bias, out,
                              (uint16_t)l->output.channels, l->output_offset, l->shift[0],
                              l->multiplier[0], l->minimum, l->maximum);
}

void peer_max_pool(const layer *l, const int8_t *in, int8_t *out) {
    esp_nn_max_pool_s8(
        in, (uint16_t)l->input.width, (uint16_t)l->input.height, out, (uint16_t)l->output.width,
        (uint16_t)l->output.height, (uint16_t)l->stride.width, (uint16_t)l->stride.height,
        (uint16_t)l->kernel.width, (uint16_t)l->kernel.height, (uint16_t)l->padding.width,
        (uint16_t)l->padding.height, l->minimum, l->maximum, (uint16_t)l->output.channels);
}
