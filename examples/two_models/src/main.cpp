/*
 * Classifies a digit and an exercise in turns, and prints both on the serial port.
 */
#include <Arduino.h>

#include "networks.h"

void setup() {
    Serial.begin(115200);
}

void loop() {
    for (const Recording &recording : recordings) {
        const Digit &digit = digits[&recording - recordings];
        const Lenet5::Result read = lenet5.infer(digit.pixels);
        const Exercises::Result watched = watch(recording);
        Serial.print(digit.label);
        Serial.print(" read as ");
        Serial.println(read.label());
        Serial.print(Exercises::label(recording.exercise));
        Serial.print(" watched as ");
        Serial.println(watched.label());
        delay(1000);
    }
}
