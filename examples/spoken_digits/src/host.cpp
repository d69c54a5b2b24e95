/*
 * The sketch where there is no Arduino: on the virtual boards and on the PC.
 *
 * Where the working directory has a file words.bin (of each word the number of frames, int32, then
 * the frames as in words.h), what is heard goes to heard.bin, a byte a word; evaluate.py uses
 * this. Otherwise the words built in are heard.
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

/* Hears a word; says what the network thinks of it each 100 ms, and whether it ends right. */
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
