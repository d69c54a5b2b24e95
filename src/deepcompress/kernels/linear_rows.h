#include "../../../include/deepcompress/kernels/linear_rows.h"
