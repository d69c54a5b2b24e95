#include "../../../include/deepcompress/kernels/recurrent.h"
