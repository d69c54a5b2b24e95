/*
 * The sketch for builds without Arduino and without a terminal: CMSIS, STM32Cube, or no framework.
 * A debugger can read the number of correctly classified digits.
 */
#include <DeepCompress.h>

#include "digits.h"

static DeepCompress::Lenet5 network;
volatile int digits_read_right;

int main() {
    for (;;) {
        int right = 0;
        for (const Digit &digit : digits) {
            right += network.infer(digit.pixels).index() == digit.label;
        }
        digits_read_right = right;
    }
}
