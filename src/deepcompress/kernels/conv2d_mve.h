#include "../../../include/deepcompress/kernels/conv2d_mve.h"
