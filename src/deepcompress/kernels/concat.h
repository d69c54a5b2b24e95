#include "../../../include/deepcompress/kernels/concat.h"
