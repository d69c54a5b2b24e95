#include "../../../include/deepcompress/kernels/conv2d_layer.h"
