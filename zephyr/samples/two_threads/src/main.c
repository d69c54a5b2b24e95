/*
 * Two watches with one thread each. The thread of the left watch has the higher priority: when a
 * chunk of motion is available, it interrupts the inference of the right one. The results of both
 * must equal those of a single thread.
 *
 * An inference changes only its arena and its stack, so each thread needs its own arena. It needs
 * no lock and no initialization. Code and weights are shared.
 */
#include <stdio.h>
#include <string.h>
#include <zephyr/kernel.h>

#include "exercises.h"
#include "recordings.h"

#define AXES          6
#define RECORDINGS    ((int)(sizeof recordings / sizeof *recordings))
#define SAMPLES       ((int)(sizeof recordings->samples / sizeof *recordings->samples))
#define CHUNK_SAMPLES (EXERCISES_INPUT_SIZE / AXES)
#define CHUNKS        (SAMPLES / CHUNK_SAMPLES)

#define LEFT_ROUNDS 10
#define LEFT_PERIOD K_MSEC(1) /* a watch would take 320 ms */

struct watch {
    exercises_arena arena;
    int inferences, interrupted, differ;
    struct k_thread thread;
};

static struct watch left, right;
static K_THREAD_STACK_DEFINE(left_stack, 2048);
static K_THREAD_STACK_DEFINE(right_stack, 2048);
static K_TIMER_DEFINE(left_timer, NULL, NULL);
static volatile bool left_is_done;

/* The scores of a single thread for each chunk. */
static int8_t expected[RECORDINGS][CHUNKS][EXERCISES_OUTPUT_SIZE];

/* The network's scores of the next chunk of a recording; the first has number 0. */
static const int8_t *infer(exercises_arena *arena, int recording, int chunk) {
    int8_t motion[AXES][CHUNK_SAMPLES];
    if (chunk == 0) {
        exercises_reset(arena);
    }
    for (int sample = 0; sample < CHUNK_SAMPLES; ++sample) {
        const int16_t *axes = recordings[recording].samples[chunk * CHUNK_SAMPLES + sample];
        for (int axis = 0; axis < AXES; ++axis) {
            motion[axis][sample] = exercises_quantize((float)axes[axis] / 32768.0f);
        }
    }
    return exercises_infer_int8(arena, motion[0]);
}

static void check(struct watch *watch, int recording, int chunk) {
    const int8_t *scores = infer(&watch->arena, recording, chunk);
    watch->differ += memcmp(scores, expected[recording][chunk], EXERCISES_OUTPUT_SIZE) != 0;
    ++watch->inferences;
}

static void run_left(void *a, void *b, void *c) {
    for (int round = 0; round < LEFT_ROUNDS; ++round) {
        for (int recording = 0; recording < RECORDINGS; ++recording) {
            for (int chunk = 0; chunk < CHUNKS; ++chunk) {
                k_timer_status_sync(&left_timer);
                check(&left, recording, chunk);
            }
        }
    }
    left_is_done = true;
}

static void run_right(void *a, void *b, void *c) {
    for (int recording = RECORDINGS - 1; !left_is_done; recording = (recording + 3) % RECORDINGS) {
        for (int chunk = 0; chunk < CHUNKS; ++chunk) {
            const int before = left.inferences;
            check(&right, recording, chunk);
            right.interrupted += left.inferences != before;
        }
    }
}

static int run_alone(void) {
    int ended_right = 0;
    for (int recording = 0; recording < RECORDINGS; ++recording) {
        for (int chunk = 0; chunk < CHUNKS; ++chunk) {
            memcpy(expected[recording][chunk], infer(&left.arena, recording, chunk),
                   EXERCISES_OUTPUT_SIZE);
        }
        ended_right +=
            exercises_argmax(expected[recording][CHUNKS - 1]) == recordings[recording].exercise;
    }
    return ended_right;
}

static int stack_used(const struct watch *watch) {
    size_t unused = 0;
    k_thread_stack_space_get(&watch->thread, &unused);
    return (int)(watch->thread.stack_info.size - unused);
}

int main(void) {
    printf("alone: %d of %d exercises right\n", run_alone(), RECORDINGS);
    k_timer_start(&left_timer, LEFT_PERIOD, LEFT_PERIOD);
    k_thread_create(&left.thread, left_stack, K_THREAD_STACK_SIZEOF(left_stack), run_left, NULL,
                    NULL, NULL, K_PRIO_PREEMPT(1), 0, K_NO_WAIT);
    k_thread_create(&right.thread, right_stack, K_THREAD_STACK_SIZEOF(right_stack), run_right, NULL,
                    NULL, NULL, K_PRIO_PREEMPT(2), 0, K_NO_WAIT);
    k_thread_join(&left.thread, K_FOREVER);
    k_thread_join(&right.thread, K_FOREVER);
    printf("left: %d inferences, %d differ, %d bytes of stack\n", left.inferences, left.differ,
           stack_used(&left));
    printf("right: %d inferences, %d interrupted, %d differ, %d bytes of stack\n", right.inferences,
           right.interrupted, right.differ, stack_used(&right));
    return 0;
}
