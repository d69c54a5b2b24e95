/*
 * networks.h - two networks that take turns in one piece of memory.
 *
 * A network needs its arena only while infer() runs: the Result has been copied out of it. So
 * networks that never run at the same time, and are not `stateful`, can share.
 */
#ifndef NETWORKS_H
#define NETWORKS_H

#include <DeepCompress.h>

#include "digits.h"
#include "recordings.h"

using DeepCompress::Exercises;
using DeepCompress::Lenet5;

#ifdef ARENAS_APART
static struct {
#else
static union {
#endif
    Lenet5::In::Arena lenet5;
    Exercises::In::Arena exercises;
} arena;

static Lenet5::In lenet5(arena.lenet5);
static Exercises::In exercises(arena.exercises);

/* Which exercise a wrist did in these five seconds. */
static Exercises::Result watch(const Recording &recording) {
    const int axes = 6, samples = Exercises::inputSize / axes;
    static int8_t motion[axes][samples];
    for (int sample = 0; sample < samples; ++sample) {
        for (int axis = 0; axis < axes; ++axis) {
            motion[axis][sample] = Exercises::quantize(recording.samples[sample][axis] / 32768.0f);
        }
    }
    return exercises.infer(motion);
}

#endif
