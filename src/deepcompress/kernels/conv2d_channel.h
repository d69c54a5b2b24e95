#include "../../../include/deepcompress/kernels/conv2d_channel.h"
