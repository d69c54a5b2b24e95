/* What each argument asks for is one thing that a virtual board must do. */
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

static volatile int initialised = 42;
#ifndef ZEROED_INTS
#define ZEROED_INTS 8
#endif
static volatile int zeroed[ZEROED_INTS];

struct Constructed {
    std::vector<int> values{1, 2, 3};
    ~Constructed() {
        std::puts("destroyed");
    }
};
static Constructed constructed;

static int hello(const char *name) {
    std::printf("hello %s: data %d bss %d ", name, initialised, zeroed[ZEROED_INTS - 1]);
    std::printf("heap %d ", static_cast<int>(constructed.values.size()));
    std::printf("root %.4f\n", static_cast<double>(std::sqrt(static_cast<float>(initialised))));
    return 0;
}

static int copyFile(const char *from, const char *to) {
    std::FILE *in = std::fopen(from, "rb");
    std::FILE *out = std::fopen(to, "wb");
    if (in == nullptr || out == nullptr) {
        return 1;
    }
    for (int c = std::fgetc(in); c != EOF; c = std::fgetc(in)) {
        std::fputc(c, out);
    }
    std::fclose(in);
    return std::fclose(out);
}

static int fillStack(volatile int depth) {
    return depth < 0 ? 0 : 1 + fillStack(depth + 1);
}

int main(int argc, char *argv[]) {
    const char *task = argc > 1 ? argv[1] : "hello";
    if (std::strcmp(task, "copy") == 0 && argc == 4) {
        return copyFile(argv[2], argv[3]);
    }
    if (std::strcmp(task, "exit") == 0) {
        return 3;
    }
    if (std::strcmp(task, "loop") == 0) {
        for (;;) {
        }
    }
    if (std::strcmp(task, "fault") == 0) {
        __builtin_trap();
    }
    if (std::strcmp(task, "stack") == 0) {
        return fillStack(0);
    }
    return hello(task);
}
