#include <unity.h>

static void test_one_is_two(void) {
    TEST_ASSERT_EQUAL_INT(2, 1);
}

int main(void) {
    UNITY_BEGIN();
    RUN_TEST(test_one_is_two);
    UNITY_END();
    return 0;
}
