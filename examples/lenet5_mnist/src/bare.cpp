/*
 * The sketch where there is neither Arduino nor a terminal: CMSIS, STM32Cube, or no framework.
 * A debugger, or whatever the firmware does with it, sees how many digits were read right.
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
