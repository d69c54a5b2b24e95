#include "../../../include/deepcompress/kernels/add.h"
