#include "../../../include/deepcompress/kernels/conv2d_panel.h"
