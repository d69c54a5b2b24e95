#include "../../../include/deepcompress/kernels/prelu.h"
