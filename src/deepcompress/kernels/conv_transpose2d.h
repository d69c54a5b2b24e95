#include "../../../include/deepcompress/kernels/conv_transpose2d.h"
