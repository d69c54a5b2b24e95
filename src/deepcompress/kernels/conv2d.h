#include "../../../include/deepcompress/kernels/conv2d.h"
