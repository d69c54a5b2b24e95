#include "../../../include/deepcompress/kernels/layer_norm.h"
