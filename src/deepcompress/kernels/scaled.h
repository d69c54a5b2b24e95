#include "../../../include/deepcompress/kernels/scaled.h"
