#include "../../../include/deepcompress/kernels/softmax.h"
