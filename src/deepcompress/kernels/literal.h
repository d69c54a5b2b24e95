#include "../../../include/deepcompress/kernels/literal.h"
