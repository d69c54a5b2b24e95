/*
 * Runs the golden vectors on the board and measures the time of an inference.
 */
#include <DeepCompress.h>
#include <stdio.h>
#include <unity.h>

#include "cycles.h"

#ifdef ARDUINO
#include <Arduino.h>
#endif

static DeepCompress::Lenet5 network;
static int8_t input[DeepCompress::Lenet5::inputSize];

extern "C" void setUp() {}
extern "C" void tearDown() {}

static void test_every_golden_vector() {
    TEST_ASSERT_EQUAL_INT(DC_OK, network.selfTest());
}

static void test_the_same_input_has_the_same_scores() {
    const auto first = network.infer(input), second = network.infer(input);
    TEST_ASSERT_EQUAL_INT8_ARRAY(first.scores(), second.scores(), first.size());
}

static void test_time() {
    char said[64] = "this core has no cycle counter";
    if (startCycles()) {
        const uint32_t start = cycles();
        network.infer(input);
        const uint32_t taken = cycles() - start;
        snprintf(said, sizeof said, "%lu cycles an inference", static_cast<unsigned long>(taken));
    }
    TEST_MESSAGE(said);
#ifdef ARDUINO
    const unsigned long start = micros();
    network.infer(input);
    snprintf(said, sizeof said, "%lu us an inference", micros() - start);
    TEST_MESSAGE(said);
#endif
}

static int runTests() {
    UNITY_BEGIN();
    RUN_TEST(test_every_golden_vector);
    RUN_TEST(test_the_same_input_has_the_same_scores);
    RUN_TEST(test_time);
    return UNITY_END();
}

#ifdef ARDUINO
void setup() {
    delay(2000); // the serial port opens after a reset
    runTests();
}
void loop() {}
#else
int main() {
    return runTests();
}
#endif
