#include "../../../include/deepcompress/kernels/lstm.h"
