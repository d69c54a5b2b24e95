#include "../include/DeepCompress.h"
