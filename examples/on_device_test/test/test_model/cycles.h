/*
 * The core's cycle counter: Armv7-M manual, C1.8 (DWT). Armv6-M and Armv8-M Baseline have none.
 */
#ifndef CYCLES_H
#define CYCLES_H

#include <stdint.h>

#if defined(__ARM_ARCH_7M__) || defined(__ARM_ARCH_7EM__) || defined(__ARM_ARCH_8M_MAIN__) ||      \
    defined(__ARM_ARCH_8_1M_MAIN__)

static inline volatile uint32_t &at(uint32_t address) {
    return *reinterpret_cast<volatile uint32_t *>(address);
}

static inline uint32_t cycles() {
    return at(0xE0001004);
}

/* Starts the counter. Returns false if the chip or the simulator has none. */
static inline bool startCycles() {
    at(0xE000EDFC) |= 1u << 24;  // DEMCR.TRCENA
    at(0xE0001FB0) = 0xC5ACCE55; // DWT_LAR: a Cortex-M7 locks the registers
    at(0xE0001004) = 0;
    at(0xE0001000) |= 1; // DWT_CTRL.CYCCNTENA
    const uint32_t before = cycles();
    for (volatile int wait = 0; wait < 10; wait = wait + 1) {
    }
    return cycles() != before;
}

#else

static inline uint32_t cycles() {
    return 0;
}

static inline bool startCycles() {
    return false;
}

#endif
#endif
