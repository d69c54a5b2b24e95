#include "../../../include/deepcompress/kernels/rearrange.h"
