/*
 * The features of the target CPU. Only this file reads the compiler's macros about them.
 *
 * A variant of a kernel is a function of its own, with a suffix: _c, _dsp or _mve. All are compiled
 * for every CPU, except those for MVE, whose types other CPUs lack. The end of each kernel's header
 * says which function replaces one whose instructions the CPU lacks. Small differences within a
 * function are a plain `if`, of which the compiler keeps one branch.
 */
#ifndef DEEPCOMPRESS_CPU_H
#define DEEPCOMPRESS_CPU_H

/* The DSP extension: Cortex-M4, M7, and M33 if the chip maker chose it. DEEPCOMPRESS_PORTABLE
 * selects portable C; DEEPCOMPRESS_EMULATE_DSP runs the variants for DSP on any CPU, with the
 * instructions written in C. */
#if defined(DEEPCOMPRESS_PORTABLE)
#define DC_HAS_DSP 0
#elif defined(DEEPCOMPRESS_EMULATE_DSP) || defined(__ARM_FEATURE_DSP)
#define DC_HAS_DSP 1
#else
#define DC_HAS_DSP 0
#endif

/* Whether loading a word from any address is cheap: on all CPUs except Armv6-M. */
#if defined(__ARM_FEATURE_UNALIGNED) || DC_HAS_DSP
#define DC_HAS_UNALIGNED 1
#else
#define DC_HAS_UNALIGNED 0
#endif

/* Whether the instructions can be written in assembly. Immediate operands are constants only if the
 * compiler optimizes. */
#if defined(__ARM_FEATURE_DSP) && defined(__OPTIMIZE__) && defined(__GNUC__) &&                    \
    !defined(DEEPCOMPRESS_EMULATE_DSP)
#define DC_DSP_INSTRUCTIONS 1
#else
#define DC_DSP_INSTRUCTIONS 0
#endif

/* The vector extension, MVE or Helium: Cortex-M55 and M85, with the compiler's intrinsics, which
 * are complete since gcc 12. Either macro about DSP above disables it. */
#if defined(__ARM_FEATURE_MVE) && (defined(__clang__) || __GNUC__ >= 12) &&                        \
    !defined(DEEPCOMPRESS_PORTABLE) && !defined(DEEPCOMPRESS_EMULATE_DSP)
#define DC_HAS_MVE 1
#else
#define DC_HAS_MVE 0
#endif

#endif
