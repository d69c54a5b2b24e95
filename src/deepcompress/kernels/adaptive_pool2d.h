#include "../../../include/deepcompress/kernels/adaptive_pool2d.h"
