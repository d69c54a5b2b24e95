#include "../../../include/deepcompress/kernels/avg_pool2d.h"
