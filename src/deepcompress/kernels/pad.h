#include "../../../include/deepcompress/kernels/pad.h"
