#include "../../../include/deepcompress/kernels/mean.h"
