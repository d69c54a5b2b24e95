#include "../../../include/deepcompress/kernels/scale_shift.h"
