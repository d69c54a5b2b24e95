#include "../../../include/deepcompress/kernels/max_pool2d.h"
