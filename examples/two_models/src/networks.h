/*
 * networks.h - two networks that share one arena.
 *
 * A network needs its arena only while infer() runs, because the Result is a copy. So networks that
 * never run at the same time and are not `stateful` can share an arena.
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

/* The exercise in a recording of five seconds. */
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
