#include "../../../include/deepcompress/kernels/linear_layer.h"
