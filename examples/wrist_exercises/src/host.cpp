/*
 * The sketch for builds without Arduino: virtual boards and the PC.
 *
 * If the working directory contains recordings.bin (for each recording the number of samples,
 * int32, then the samples as in recordings.h), the best class of each chunk is written to
 * classes.bin, one byte each; evaluate.py uses this. Otherwise the built-in recordings are used.
 */
#include <stdio.h>

#include "recordings.h"
#include "motion.h"

static DeepCompress::Exercises network;

static int readFile(FILE *file) {
    FILE *classes = fopen("classes.bin", "wb");
    if (classes == NULL) {
        puts("cannot write classes.bin");
        return 1;
    }
    int32_t samples;
    while (fread(&samples, sizeof samples, 1, file) == 1) {
        Motion motion;
        network.reset();
        for (int16_t axes[Motion::axes]; samples > 0 && fread(axes, sizeof axes, 1, file) == 1;
             --samples) {
            if (motion.add(axes)) {
                fputc(network.infer(motion.chunk()).index(), classes);
            }
        }
    }
    return fclose(classes) == 0 ? 0 : 1;
}

/* Prints the best class of a recording every second. Returns whether the last is correct. */
static bool play(const Recording &recording) {
    Motion motion;
    network.reset();
    printf("%s, person %d:", network.label(recording.exercise), recording.person);
    int chunks = 0, last = -1;
    for (const auto &axes : recording.samples) {
        if (motion.add(axes)) {
            const auto result = network.infer(motion.chunk());
            last = result.index();
            if (++chunks % 4 == 0) {
                printf(" %s%s", chunks > 4 ? "- " : "", result.label());
            }
        }
    }
    printf("\n");
    return last == recording.exercise;
}

int main() {
    FILE *file = fopen("recordings.bin", "rb");
    if (file != NULL) {
        return readFile(file);
    }
    int right = 0;
    for (const Recording &recording : recordings) {
        right += play(recording);
    }
    printf("%d of %d right after five seconds\n", right,
           static_cast<int>(sizeof recordings / sizeof *recordings));
    return 0;
}
