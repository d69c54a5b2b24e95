#include "../../../include/deepcompress/kernels/lookup.h"
