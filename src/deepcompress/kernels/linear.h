#include "../../../include/deepcompress/kernels/linear.h"
