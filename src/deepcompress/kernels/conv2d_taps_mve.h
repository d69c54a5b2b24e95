#include "../../../include/deepcompress/kernels/conv2d_taps_mve.h"
