"""Cortex-M55: Armv8.1-M with MVE (Helium). Facts only: Unicorn cannot run MVE, so no timing."""

from __future__ import annotations

from deepcompress.target.core import Cpu

# The costs of kernels for MVE are instructions, because Arm publishes no timing; so are all others.
CPUS = (
    Cpu(
        "cortex-m55",
        frozenset({"dsp", "mve", "fpu", "unaligned"}),
        cycle_factor=0.8,
        qemu_machine="mps3-an547",
        elf_architectures=(21,),  # v8.1-M mainline
    ),
)
