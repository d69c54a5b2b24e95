/*
 * Classifies the built-in words in a loop and prints the results on the serial port.
 *
 * With a microphone, compute one frame per 25 ms and call network.reset() when a word begins.
 */
#include <Arduino.h>

#include "listen.h"

Network network;

void setup() {
    Serial.begin(115200);
}

void loop() {
    for (const Word &word : words) {
        int heard = -1;
        const unsigned long start = micros();
        network.reset();
        for (int i = 0; i < word.length; ++i) {
            heard = hear(network, frames[word.start + i]).index();
        }
        const unsigned long microseconds = micros() - start;

        Serial.print(word.digit);
        Serial.print(" heard as ");
        Serial.print(Network::label(heard));
        Serial.print(", ");
        Serial.print(microseconds / word.length);
        Serial.println(" us per frame");
        delay(1000);
    }
}
