#include "../../include/deepcompress/model.h"
