/*
 * cmsis_nn.c - layers by Arm's CMSIS-NN, with the same calls as TFLite Micro. If CMSIS-NN refuses a
 * layer, or needs more scratch, the output is not written, so that the check fails.
 */
#include "layer.h"

#include <arm_nnfunctions.h>

enum { SCRATCH_BYTES = 16 * 1024 };

static int32_t scratch[SCRATCH_BYTES / 4];
static const cmsis_nn_context context = {scratch, SCRATCH_BYTES};

static cmsis_nn_dims dims(layer_shape shape) {
    return (cmsis_nn_dims){1, shape.height, shape.width, shape.channels};
}

static cmsis_nn_tile tile(layer_pair pair) {
    return (cmsis_nn_tile){pair.width, pair.height};
}

static cmsis_nn_activation activation(const layer *l) {
    return (cmsis_nn_activation){l->minimum, l->maximum};
}

static cmsis_nn_per_channel_quant_params per_channel(const layer *l) {
    return (cmsis_nn_per_channel_quant_params){(int32_t *)l->multiplier, (int32_t *)l->shift};
}

void peer_convolution(const layer *l, const int8_t *in, int8_t *out) {
    const cmsis_nn_conv_params params = {.input_offset = l->input_offset,
                                         .output_offset = l->output_offset,
                                         .stride = tile(l->stride),
                                         .padding = tile(l->padding),
                                         .dilation = {1, 1},
                                         .activation = activation(l)};
    const cmsis_nn_per_channel_quant_params quant = per_channel(l);
    const cmsis_nn_dims input = dims(l->input), output = dims(l->output);
    const cmsis_nn_dims bias = {1, 1, 1, output.c};
    const cmsis_nn_dims filter = {output.c, l->kernel.height, l->kernel.width, input.c};
    if (arm_convolve_wrapper_s8_get_buffer_size(&params, &input, &filter, &output) <=
        SCRATCH_BYTES) {
        arm_convolve_wrapper_s8(&context, &params, &quant, &input, in, &filter, l->weight, &bias,
                                l->bias, &output, out);
    }
}

void peer_depthwise(const layer *l, const int8_t *in, int8_t *out) {
    const cmsis_nn_dw_conv_params params = {.input_offset = l->input_offset,
                                            .output_offset = l->output_offset,
                                            .ch_mult = 1,
                                            .stride = tile(l->stride),
                                            .padding = tile(l->padding),
                                            .dilation = {1, 1},
                                            .activation = activation(l)};
    const cmsis_nn_per_channel_quant_params quant = per_channel(l);
    const cmsis_nn_dims input = dims(l->input), output = dims(l->output);
    const cmsis_nn_dims bias = {1, 1, 1, output.c};
    const cmsis_nn_dims filter = {1, l->kernel.height, l->kernel.width, output.c};
    if (arm_depthwise_conv_wrapper_s8_get_buffer_size(&params, &input, &filter, &output) <=
        SCRATCH_BYTES) {
        arm_depthwise_conv_wrapper_s8(&context, &params, &quant, &input, in, &filter, l->weight,
                                      &bias, l->bias, &output, out);
    }
}

void peer_linear(const layer *l, const int8_t *in, int8_t *out) {
    const cmsis_nn_fc_params params = {.input_offset = l->input_offset,
                                       .output_offset = l->output_offset,
                                       .activation = activation(l)};
    const cmsis_nn_per_tensor_quant_params quant = {l->multiplier[0], l->shift[0]};
    const cmsis_nn_dims input = dims(l->input), output = dims(l->output);
    const cmsis_nn_dims bias = {1, 1, 1, output.c};
    const cmsis_nn_dims filter = {input.h * input.w * input.c, 1, 1, output.c};
    arm_fully_connected_s8(&context, &params, &quant, &input, in, &filter, l->weight, &bias,
                           l->bias, &output, out);
}

void peer_max_pool(const layer *l, const int8_t *in, int8_t *out) {
    const cmsis_nn_pool_params params = {
        .stride = tile(l->stride), .padding = tile(l->padding), .activation = activation(l)};
    const cmsis_nn_dims input = dims(l->input), output = dims(l->output);
    const cmsis_nn_dims window = {1, l->kernel.height, l->kernel.width, 1};
    arm_max_pool_s8(&context, &params, &input, in, &window, &output, out);
}
