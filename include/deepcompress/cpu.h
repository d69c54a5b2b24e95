/*
 * What the CPU that is compiled for can do. The only reader of the compiler's macros about it.
 *
 * A kernel with variants asks with a plain `if`, so that every variant is compiled everywhere and
 * the compiler leaves out what is not chosen.
 */
#ifndef DEEPCOMPRESS_CPU_H
#define DEEPCOMPRESS_CPU_H

/* The DSP extension: Cortex-M4, M7, and M33 where the chip maker chose it. Defining
 * DEEPCOMPRESS_PORTABLE keeps to portable C, DEEPCOMPRESS_EMULATE_DSP runs the variants for DSP on
 * any CPU, their instructions written in C. */
#if defined(DEEPCOMPRESS_PORTABLE)
#define DC_HAS_DSP 0
#elif defined(DEEPCOMPRESS_EMULATE_DSP) || defined(__ARM_FEATURE_DSP)
#define DC_HAS_DSP 1
#else
#define DC_HAS_DSP 0
#endif

/* Whether the instructions can be written as such. Immediate operands are constants only where the
 * compiler optimizes. */
#if defined(__ARM_FEATURE_DSP) && defined(__OPTIMIZE__) && defined(__GNUC__) &&                    \
    !defined(DEEPCOMPRESS_EMULATE_DSP)
#define DC_DSP_INSTRUCTIONS 1
#else
#define DC_DSP_INSTRUCTIONS 0
#endif

#endif
