#include "../../../include/deepcompress/kernels/clamp.h"
