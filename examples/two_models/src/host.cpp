/*
 * The sketch for builds without Arduino: virtual boards and the PC.
 */
#include <stdio.h>

#include "networks.h"

int main() {
    printf("arenas of %d and %d bytes, in %d\n", static_cast<int>(Lenet5::arenaBytes),
           static_cast<int>(Exercises::arenaBytes), static_cast<int>(sizeof arena));
    for (const Recording &recording : recordings) {
        const Digit &digit = digits[&recording - recordings];
        const Lenet5::Result read = lenet5.infer(digit.pixels);
        const Exercises::Result watched = watch(recording);
        printf("%d read as %d, scores", digit.label, read.index());
        for (int i = 0; i < read.size(); ++i) {
            printf(" %d", read.score(i));
        }
        printf("; %s watched as %s, scores", Exercises::label(recording.exercise), watched.label());
        for (int i = 0; i < watched.size(); ++i) {
            printf(" %d", watched.score(i));
        }
        printf("\n");
    }
    return 0;
}
