#include "../../../include/deepcompress/kernels/linear_mve.h"
