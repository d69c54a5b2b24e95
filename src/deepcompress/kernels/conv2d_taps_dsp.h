#include "../../../include/deepcompress/kernels/conv2d_taps_dsp.h"
