/*
 * Start-up of the virtual boards: vectors, memory, C++ constructors, main's arguments, and an end
 * that carries the exit code out of QEMU. The operations are those of the Arm semihosting
 * specification (2.0); newlib's rdimon library brings files and the terminal the same way.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SYS_WRITE0 = 0x04, SYS_GET_CMDLINE = 0x15, SYS_EXIT_EXTENDED = 0x20 };
enum { ADP_STOPPED_APPLICATION_EXIT = 0x20026 };
enum { FAULT_EXIT_CODE = 70, LINE_BYTES = 256, MAX_ARGUMENTS = 15 };

extern uint32_t stack_top, data_load, data_start, data_end, bss_start, bss_end;
extern int main(int argc, char *argv[]);
extern void initialise_monitor_handles(void);
extern void __libc_init_array(void);

/* What gcc's own start files, which are not linked, would define. With -flto, gcc sees no use of
 * what only the C library or assembly calls: `used` keeps those functions and their names. */
#define KEPT __attribute__((used))
void Reset_Handler(void);
void report_fault(void);
void _init(void);
void _fini(void);
extern void *__dso_handle;
KEPT void *__dso_handle = NULL;
KEPT void _init(void) {}
KEPT void _fini(void) {}

static uint32_t semihost(uint32_t operation, const void *argument) {
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

KEPT void _exit(int code) {
    const uint32_t block[2] = {ADP_STOPPED_APPLICATION_EXIT, (uint32_t)code};
    semihost(SYS_EXIT_EXTENDED, block);
    for (;;) {
    }
}

/* Not static: the assembly below calls it by its name. */
KEPT void report_fault(void) {
    semihost(SYS_WRITE0, "virtual: error: CPU fault: a bad address, an undefined instruction, or a "
                         "full stack\n");
    _exit(FAULT_EXIT_CODE);
}

/* The stack may be corrupt: start with a new one. `.ltorg` puts the constant here, where ldr
 * reaches it: with -flto this may be the first of many functions in one assembly file. */
__attribute__((naked)) static void Fault_Handler(void) {
    __asm__("ldr r0, =stack_top\n\tmov sp, r0\n\tbl report_fault\n\t.ltorg");
}

/* The words of the command line, as pointers into it. The PC joins them with blanks. */
static int read_arguments(char line[LINE_BYTES], char *argv[MAX_ARGUMENTS + 1]) {
    const struct {
        char *buffer;
        uint32_t size;
    } block = {line, LINE_BYTES};
    int argc = 0;
    if (semihost(SYS_GET_CMDLINE, &block) == 0) {
        /* Not strtok_r, which is not declared with -std=c99. */
        for (char *word = strtok(line, " "); word != NULL && argc < MAX_ARGUMENTS;
             word = strtok(NULL, " ")) {
            argv[argc++] = word;
        }
    }
    argv[argc] = NULL;
    return argc;
}

void Reset_Handler(void) {
#if defined(__ARM_FP)
    /* CPACR: full access to coprocessors 10 and 11, which are the FPU and MVE. */
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20;
    __asm__ volatile("dsb\n\tisb");
#endif
    for (uint32_t *to = &data_start, *from = &data_load; to < &data_end;) {
        *to++ = *from++;
    }
    for (uint32_t *to = &bss_start; to < &bss_end;) {
        *to++ = 0;
    }
    initialise_monitor_handles();
    __libc_init_array();
    char line[LINE_BYTES];
    char *argv[MAX_ARGUMENTS + 1];
    const int argc = read_arguments(line, argv);
    exit(main(argc, argv));
}

/* Armv7-M manual, B1.5.2: the stack, reset, then the exceptions by number. */
static const struct {
    uint32_t *stack;
    void (*handlers[15])(void);
} vectors __attribute__((section(".vectors"), used)) = {
    &stack_top,
    {Reset_Handler, Fault_Handler, Fault_Handler, Fault_Handler, Fault_Handler, Fault_Handler,
     Fault_Handler, Fault_Handler, Fault_Handler, Fault_Handler, Fault_Handler, Fault_Handler,
     Fault_Handler, Fault_Handler, Fault_Handler}};
