/*
 * Start-up of the virtual boards: vectors, memory, C++ constructors, and an end that carries the
 * exit code out of QEMU by semihosting.
 */
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

extern uint32_t stack_top, data_load, data_start, data_end, bss_start, bss_end;
extern int main(void);
extern void initialise_monitor_handles(void);
extern void __libc_init_array(void);

void Reset_Handler(void);

/* newlib's start and end of constructors call these; there is nothing to do. */
void _init(void) {}
void _fini(void) {}

static void semihost(uint32_t operation, const void *argument) {
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
}

/* SYS_EXIT_EXTENDED with ADP_Stopped_ApplicationExit (Arm semihosting specification, 7.2). */
void _exit(int code) {
    const uint32_t block[2] = {0x20026, (uint32_t)code};
    semihost(0x20, block);
    for (;;) {
    }
}

static void Fault_Handler(void) {
    semihost(0x04, "virtual: error: CPU fault (a bad address, an undefined instruction, or a full stack)\n");
    _exit(70);
}

__attribute__((section(".vectors"), used)) static void *const vectors[16] = {
    &stack_top,    Reset_Handler, Fault_Handler, Fault_Handler, Fault_Handler, Fault_Handler,
    Fault_Handler, 0,             0,             0,             0,             Fault_Handler,
    Fault_Handler, 0,             Fault_Handler, Fault_Handler};

void Reset_Handler(void) {
#if defined(__ARM_FP)
    /* CPACR: full access to CP10 and CP11, the FPU (and MVE). */
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
    exit(main());
}
