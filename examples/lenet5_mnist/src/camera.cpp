/*
 * Digits in frames of a camera: 160 x 120 grey bytes, dark ink on paper lit from one side.
 *
 * If the working directory contains frames.bin, the results are written to read.bin, one byte per
 * frame; camera.py uses this. Otherwise the built-in digits are drawn into frames at various
 * positions.
 */
#include <stdio.h>

#include <DeepCompress.h>

#include "camera.h"
#include "digits.h"

enum { width = 160, height = 120, nothing = 255 };

static DeepCompress::Lenet5 network;
static DigitFinder finder;
static uint8_t frame[height * width];

/* The digit in the frame, or `nothing`. */
static int readFrame() {
    uint8_t pixels[DeepCompress::Lenet5::inputSize];
    return finder.find(frame, width, height, pixels) ? network.infer(pixels).index() : nothing;
}

static int readFile(FILE *frames) {
    FILE *answers = fopen("read.bin", "wb");
    if (answers == NULL) {
        puts("cannot write read.bin");
        return 1;
    }
    while (fread(frame, sizeof frame, 1, frames) == 1) {
        fputc(readFrame(), answers);
    }
    return fclose(answers) == 0 ? 0 : 1;
}

/* Draws a digit, enlarged two or three times, at a position that depends on its number. */
static void paint(const Digit &digit) {
    const int scale = 2 + digit.number % 2;
    const int top = digit.number % (height - 32 * scale),
              left = 20 + digit.number % (120 - 32 * scale);
    for (int y = 0; y < height; ++y) {
        for (int x = 0; x < width; ++x) {
            const int row = (y - top) / scale, column = (x - left) / scale;
            const bool on = y >= top && x >= left && row < 32 && column < 32;
            const int ink = on ? digit.pixels[32 * row + column] : 0;
            const int paper = 120 + x / 2 + y / 4;
            frame[y * width + x] = static_cast<uint8_t>(paper * (320 - ink) / 320);
        }
    }
}

int main() {
    FILE *frames = fopen("frames.bin", "rb");
    if (frames != NULL) {
        return readFile(frames);
    }
    for (const Digit &digit : digits) {
        paint(digit);
        printf("test image %d: %d read as %d\n", digit.number, digit.label, readFrame());
    }
    return 0;
}
