#include "unity.h"

#include <setjmp.h>
#include <stdio.h>

static struct {
    const char *test;
    int count, failures, failed;
    jmp_buf leave;
} state;

void unity_begin(void) {
    state.count = state.failures = 0;
}

int unity_end(void) {
    printf("\n-----------------------\n%d Tests %d Failures 0 Ignored\n%s\n", state.count,
           state.failures, state.failures ? "FAIL" : "OK");
    return state.failures;
}

void unity_run(void (*test)(void), const char *name, const char *file, int line) {
    state.test = name;
    state.failed = 0;
    ++state.count;
    if (setjmp(state.leave) == 0) {
        setUp();
        test();
    }
    tearDown();
    if (state.failed) {
        ++state.failures;
    } else {
        printf("%s:%d:%s:PASS\n", file, line, name);
    }
}

static void fail(const char *file, int line) {
    printf("%s:%d:%s:FAIL: ", file, line, state.test);
    state.failed = 1;
}

void unity_message(const char *message, const char *file, int line) {
    printf("%s:%d:%s:INFO: %s\n", file, line, state.test, message);
}

void unity_check(int holds, const char *file, int line, const char *why) {
    if (!holds) {
        fail(file, line);
        printf("%s\n", why);
        longjmp(state.leave, 1);
    }
}

void unity_check_int(long expected, long actual, const char *file, int line) {
    if (expected != actual) {
        fail(file, line);
        printf("Expected %ld Was %ld\n", expected, actual);
        longjmp(state.leave, 1);
    }
}

void unity_check_int8s(const int8_t *expected, const int8_t *actual, int count, const char *file,
                       int line) {
    for (int i = 0; i < count; ++i) {
        if (expected[i] != actual[i]) {
            fail(file, line);
            printf("Element %d Expected %d Was %d\n", i, expected[i], actual[i]);
            longjmp(state.leave, 1);
        }
    }
}
