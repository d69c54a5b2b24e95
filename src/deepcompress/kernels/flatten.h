#include "../../../include/deepcompress/kernels/flatten.h"
