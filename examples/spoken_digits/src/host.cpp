/*
 * The sketch for builds without Arduino: virtual boards and the PC.
 *
 * If the working directory contains words.bin (for each word the number of frames, int32, then the
 * frames as in words.h), the results are written to heard.bin, one byte per word; evaluate.py uses
 * this. Otherwise the built-in words are classified.
 */
#include <stdio.h>

#include "listen.h"

static Network network;

static int readFile(FILE *file) {
    FILE *classes = fopen("heard.bin", "wb");
    if (classes == NULL) {
        puts("cannot write heard.bin");
        return 1;
    }
    int32_t length;
    while (fread(&length, sizeof length, 1, file) == 1) {
        int heard = 0;
        network.reset();
        for (int16_t frame[Network::inputSize];
             length > 0 && fread(frame, sizeof frame, 1, file) == 1; --length) {
            heard = hear(network, frame).index();
        }
        fputc(heard, classes);
    }
    return fclose(classes) == 0 ? 0 : 1;
}

/* Prints the best digit of a word every 100 ms. Returns whether the last one is correct. */
static bool listen(const Word &word) {
    int heard = -1;
    network.reset();
    printf("%s:", Network::label(word.digit));
    for (int i = 0; i < word.length; ++i) {
        heard = hear(network, frames[word.start + i]).index();
        if (i % 4 == 3 || i == word.length - 1) {
            printf(" %s", Network::label(heard));
        }
    }
    printf("\n");
    return heard == word.digit;
}

int main() {
    FILE *file = fopen("words.bin", "rb");
    if (file != NULL) {
        return readFile(file);
    }
    int right = 0;
    for (const Word &word : words) {
        right += listen(word);
    }
    printf("%d of %d words right\n", right, static_cast<int>(sizeof words / sizeof *words));
    return 0;
}
