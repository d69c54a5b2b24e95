#include "../../../include/deepcompress/kernels/broadcast.h"
