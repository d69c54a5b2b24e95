#include "../../../include/deepcompress/kernels/mul.h"
