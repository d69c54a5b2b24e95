/*
 * The functions that are not inlined: texts, the search for the best score, the CRC of self tests.
 */
#include "deepcompress/model.h"

const char *dc_status_text(dc_status status) {
    switch (status) {
    case DC_OK:
        return "ok";
    case DC_SELF_TEST_FAILED:
        return "self test failed: constants or scores differ from those on the PC";
    case DC_NO_GOLDEN_VECTORS:
        return "no golden vectors: set custom_deepcompress_self_test = 1";
    }
    return "unknown status";
}

const char *dc_stage_text(dc_stage stage) {
    switch (stage) {
    case DC_STAGE_NONE:
        return "nothing differs";
    case DC_STAGE_CONSTANTS:
        return "the constants differ";
    case DC_STAGE_LAYER:
        return "the output of a layer differs";
    case DC_STAGE_VECTORS:
        return "the outputs of the network differ";
    }
    return "unknown stage";
}

int dc_argmax(const int8_t *scores, int count) {
    DC_CHECK_POINTER(scores, int8_t);
    int best = 0;
    for (int i = 1; i < count; ++i) {
        if (scores[i] > scores[best]) {
            best = i;
        }
    }
    return best;
}

/* Half a byte at a time: a table of 64 bytes instead of 1024. */
DC_WEAK uint32_t dc_crc32(uint32_t crc, const void *data, uint32_t bytes) {
    static const uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
        0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    const uint8_t *at = (const uint8_t *)data;
    crc = ~crc;
    for (const uint8_t *const end = at + bytes; at < end; ++at) {
        crc ^= *at;
        crc = table[crc & 15] ^ crc >> 4;
        crc = table[crc & 15] ^ crc >> 4;
    }
    return ~crc;
}

#if defined(DEEPCOMPRESS_ASSERT)
DC_WEAK void dc_assert_failed(const char *function, const char *what) {
    (void)function;
    (void)what;
#if defined(__GNUC__)
    __builtin_trap();
#else
    for (;;) {
    }
#endif
}
#endif
