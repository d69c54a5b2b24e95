/*
 * The functions that are not inlined: status texts and the search for the best score.
 */
#include "deepcompress/model.h"

const char *dc_status_text(dc_status status) {
    switch (status) {
    case DC_OK:
        return "ok";
    case DC_SELF_TEST_FAILED:
        return "self test failed: the scores differ from those on the PC";
    case DC_NO_GOLDEN_VECTORS:
        return "no golden vectors: set custom_deepcompress_self_test = 1";
    }
    return "unknown status";
}

int dc_argmax(const int8_t *scores, int count) {
    int best = 0;
    for (int i = 1; i < count; ++i) {
        if (scores[i] > scores[best]) {
            best = i;
        }
    }
    return best;
}
