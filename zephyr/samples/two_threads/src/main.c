/*
 * Two watches, a thread each. The left one's thread has the higher priority: whenever a piece of
 * motion is there, it interrupts the inference of the right one's. Both must say what one thread
 * alone says.
 *
 * All that an inference changes is its arena and its stack: an arena for each thread is all it
 * takes. No lock, nothing to initialise, code and weights are shared.
 */
#include <stdio.h>
#include <string.h>
#include <zephyr/kernel.h>

#include "exercises.h"
#include "recordings.h"

#define AXES          6
#define RECORDINGS    ((int)(sizeof recordings / sizeof *recordings))
#define SAMPLES       ((int)(sizeof recordings->samples / sizeof *recordings->samples))
#define PIECE_SAMPLES (EXERCISES_INPUT_SIZE / AXES)
#define PIECES        (SAMPLES / PIECE_SAMPLES)

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

/* What one thread alone says of each piece. */
static int8_t expected[RECORDINGS][PIECES][EXERCISES_OUTPUT_SIZE];

/* What the network says of the next piece of a recording, its first being number 0. */
static const int8_t *infer(exercises_arena *arena, int recording, int piece) {
    int8_t motion[AXES][PIECE_SAMPLES];
    if (piece == 0) {
        exercises_reset(arena);
    }
    for (int sample = 0; sample < PIECE_SAMPLES; ++sample) {
        const int16_t *axes = recordings[recording].samples[piece * PIECE_SAMPLES + sample];
        for (int axis = 0; axis < AXES; ++axis) {
            motion[axis][sample] = exercises_quantize((float)axes[axis] / 32768.0f);
        }
    }
    return exercises_infer_int8(arena, motion[0]);
}

static void check(struct watch *watch, int recording, int piece) {
    const int8_t *scores = infer(&watch->arena, recording, piece);
    watch->differ += memcmp(scores, expected[recording][piece], EXERCISES_OUTPUT_SIZE) != 0;
    ++watch->inferences;
}

static void run_left(void *a, void *b, void *c) {
    for (int round = 0; round < LEFT_ROUNDS; ++round) {
        for (int recording = 0; recording < RECORDINGS; ++recording) {
            for (int piece = 0; piece < PIECES; ++piece) {
                k_timer_status_sync(&left_timer);
                check(&left, recording, piece);
            }
        }
    }
    left_is_done = true;
}

static void run_right(void *a, void *b, void *c) {
    for (int recording = RECORDINGS - 1; !left_is_done; recording = (recording + 3) % RECORDINGS) {
        for (int piece = 0; piece < PIECES; ++piece) {
            const int before = left.inferences;
            check(&right, recording, piece);
            right.interrupted += left.inferences != before;
        }
    }
}

static int run_alone(void) {
    int ended_right = 0;
    for (int recording = 0; recording < RECORDINGS; ++recording) {
        for (int piece = 0; piece < PIECES; ++piece) {
            memcpy(expected[recording][piece], infer(&left.arena, recording, piece),
                   EXERCISES_OUTPUT_SIZE);
        }
        ended_right +=
            exercises_argmax(expected[recording][PIECES - 1]) == recordings[recording].exercise;
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
