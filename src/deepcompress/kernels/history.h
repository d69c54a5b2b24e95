#include "../../../include/deepcompress/kernels/history.h"
