/*
 * Constant values, copied to the place where a concatenation reads them.
 */
#ifndef DEEPCOMPRESS_KERNELS_LITERAL_H
#define DEEPCOMPRESS_KERNELS_LITERAL_H

#include <stdint.h>
#include <string.h>

#include "../model.h"

typedef struct {
    int32_t size;
    const int8_t *values; /* [size] */
} dc_literal;

/* Every layer has an input; this one's is not read. */
DC_INLINE void dc_literal_int8(const dc_literal *layer, const int8_t *input, int8_t *output) {
    (void)input;
    memcpy(output, layer->values, (size_t)layer->size);
}

#endif
