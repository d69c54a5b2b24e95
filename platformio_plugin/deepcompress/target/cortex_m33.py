"""Cortex-M33: Armv8-M mainline; DSP extension and single precision FPU are the chip maker's choice.

Arm publishes no instruction timing for this core (its TRM, DDI 100230, has none). LLVM schedules it
with the Cortex-M4's model (ARM.td: `ProcessorModel<"cortex-m33", CortexM4Model, ...>`), and so do
we. The core can issue some pairs of 16-bit instructions together, which this does not
count: read its cycles as an upper estimate.
"""

from __future__ import annotations

from deepcompress.target.core import Cpu, InOrder
from deepcompress.target.cortex_m4 import FEATURES, TABLE

TIMING = InOrder(
    source="the Cortex-M4's table, as LLVM schedules this core; Arm publishes none",
    limits="an approximation: zero wait states, no pairs of 16-bit instructions, and the limits "
    "of the Cortex-M4's model",
    table=TABLE,
    taken={"": 2},
    pipelined=True,
)

CPUS = (
    Cpu(
        "cortex-m33",
        FEATURES,
        cycle_factor=0.9,
        timing=TIMING,
        unicorn_model="CORTEX_M33",
        qemu_machine="mps2-an505",
        elf_architectures=(17,),  # v8-M mainline
    ),
)
