/*
 * Prints the current exercise on the serial port, three times per second.
 *
 * readSensor() returns recorded motion. Replace it by code for your sensor, such as an MPU-6050 or
 * LSM6DS3, set to 50 Hz, 4 g and 500 degrees/s.
 */
#include <Arduino.h>
#include <DeepCompress.h>

#include "recordings.h"
#include "motion.h"

DeepCompress::Exercises network;
Motion motion;

static const int16_t *readSensor() {
    static int recording, sample;
    const int16_t *axes = recordings[recording].samples[sample];
    sample = (sample + 1) % (sizeof recordings->samples / sizeof *recordings->samples);
    recording = (recording + (sample == 0)) % (sizeof recordings / sizeof *recordings);
    return axes;
}

void setup() {
    Serial.begin(115200);
}

void loop() {
    static unsigned long next = millis();
    if (static_cast<long>(millis() - next) < 0) {
        return;
    }
    next += 20;
    if (motion.add(readSensor())) {
        const unsigned long start = micros();
        const auto result = network.infer(motion.chunk());
        const unsigned long microseconds = micros() - start;

        Serial.print(result.label());
        Serial.print(" in ");
        Serial.print(microseconds);
        Serial.println(" us");
    }
}
