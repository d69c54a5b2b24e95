/*
 * The part of Unity's interface that these tests use, written for them: `pio test` then needs no
 * registry. Prints the lines PlatformIO reads, "file:line:test:PASS" and "file:line:test:FAIL:
 * why".
 */
#ifndef MINI_UNITY_H
#define MINI_UNITY_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

void setUp(void);
void tearDown(void);

void unity_begin(void);
int unity_end(void);
void unity_run(void (*test)(void), const char *name, const char *file, int line);
void unity_message(const char *message, const char *file, int line);
void unity_check(int holds, const char *file, int line, const char *why);
void unity_check_int(long expected, long actual, const char *file, int line);
void unity_check_int8s(const int8_t *expected, const int8_t *actual, int count, const char *file,
                       int line);

#ifdef __cplusplus
}
#endif

#define UNITY_BEGIN()         unity_begin()
#define UNITY_END()           unity_end()
#define RUN_TEST(test)        unity_run(test, #test, __FILE__, __LINE__)
#define TEST_MESSAGE(message) unity_message((message), __FILE__, __LINE__)
#define TEST_ASSERT_TRUE(x)   unity_check((x) != 0, __FILE__, __LINE__, "Expected TRUE Was FALSE")
#define TEST_ASSERT_EQUAL_INT(expected, actual)                                                    \
    unity_check_int((long)(expected), (long)(actual), __FILE__, __LINE__)
#define TEST_ASSERT_EQUAL_FLOAT(expected, actual)                                                  \
    unity_check((expected) == (actual), __FILE__, __LINE__, "Values Not Equal")
#define TEST_ASSERT_EQUAL_INT8_ARRAY(expected, actual, count)                                      \
    unity_check_int8s(expected, actual, count, __FILE__, __LINE__)

#endif
