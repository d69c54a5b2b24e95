/*
 * Classifies the built-in digits and prints the result of each.
 */
#include <stdio.h>

#include "digits.h"
#include "lenet5.h"

static lenet5_arena arena;

/* Whether a digit is classified correctly. */
static int read_digit(const Digit *digit) {
    const int8_t *scores = lenet5_infer_uint8(&arena, digit->pixels);
    const int read = lenet5_argmax(scores);
    printf("test image %d: %d read as %s, scores", digit->number, digit->label, lenet5_label(read));
    for (int i = 0; i < LENET5_OUTPUT_SIZE; ++i) {
        printf(" %d", scores[i]);
    }
    printf("\n");
    return read == digit->label;
}

int main(void) {
    const int count = sizeof digits / sizeof *digits;
    int right = 0;
    printf("self test: %s\n", dc_status_text(lenet5_self_test(&arena)));
    for (int i = 0; i < count; ++i) {
        right += read_digit(&digits[i]);
    }
    printf("%d digits, %d read right\n", count, right);
    return 0;
}
