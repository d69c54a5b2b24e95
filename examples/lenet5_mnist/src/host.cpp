/*
 * The sketch for builds without Arduino: virtual boards and the PC.
 *
 * If the working directory contains images.bin (32 x 32 bytes per image), the scores of each image
 * are written to logits.bin; evaluate.py uses this. Otherwise the built-in digits are classified
 * and printed, one line each; demo.py draws them.
 */
#include <stdio.h>

#include "digits.h"

#ifdef FLOAT_NETWORK
#include "lenet5_float.h"
typedef FloatLenet5 Network;
#else
#include <DeepCompress.h>
typedef DeepCompress::Lenet5 Network;
#endif

static Network network;

static int readFile(FILE *images) {
    FILE *logits = fopen("logits.bin", "wb");
    if (logits == NULL) {
        puts("cannot write logits.bin");
        return 1;
    }
    static uint8_t pixels[Network::inputSize];
    int count = 0;
    for (; fread(pixels, sizeof pixels, 1, images) == 1; ++count) {
        const auto result = network.infer(pixels);
        fwrite(result.scores(), sizeof *result.scores(), Network::outputSize, logits);
    }
    printf("%d images read\n", count);
    return fclose(logits) == 0 ? 0 : 1;
}

static void readDigits() {
    for (const Digit &digit : digits) {
        const auto result = network.infer(digit.pixels);
        printf("test image %d: %d read as %d, scores", digit.number, digit.label, result.index());
        for (int i = 0; i < Network::outputSize; ++i) {
            printf(" %d", static_cast<int>(100 * result.value(i)));
        }
        printf("\n");
    }
}

int main() {
    FILE *images = fopen("images.bin", "rb");
    if (images != NULL) {
        return readFile(images);
    }
    readDigits();
    return 0;
}
