#include "../../../include/deepcompress/kernels/gru.h"
