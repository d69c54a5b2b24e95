/*
 * Classifies the built-in digits in a loop and prints the results on the serial port.
 */
#include <Arduino.h>
#include <DeepCompress.h>

#include "digits.h"

DeepCompress::Lenet5 network;

void setup() {
    Serial.begin(115200);
}

void loop() {
    for (const Digit &digit : digits) {
        const unsigned long start = micros();
        const auto result = network.infer(digit.pixels);
        const unsigned long microseconds = micros() - start;

        Serial.print(digit.label);
        Serial.print(" read as ");
        Serial.print(result.label());
        Serial.print(" in ");
        Serial.print(microseconds);
        Serial.println(" us");
        delay(1000);
    }
}
