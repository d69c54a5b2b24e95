#include "../../../include/deepcompress/kernels/upsample_bilinear2d.h"
