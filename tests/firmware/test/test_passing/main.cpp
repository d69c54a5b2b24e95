#include <unity.h>

static void test_floats_are_equal() {
    TEST_ASSERT_EQUAL_FLOAT(1.5f, 3.0f / 2.0f);
}

static void test_arrays_are_equal() {
    const int8_t expected[] = {-128, 0, 127};
    const int8_t actual[] = {-128, 0, 127};
    TEST_ASSERT_EQUAL_INT8_ARRAY(expected, actual, 3);
}

int main() {
    UNITY_BEGIN();
    RUN_TEST(test_floats_are_equal);
    RUN_TEST(test_arrays_are_equal);
    return UNITY_END();
}
