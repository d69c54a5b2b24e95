#include "../../include/deepcompress/input.h"
