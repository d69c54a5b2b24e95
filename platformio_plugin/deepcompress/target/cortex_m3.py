"""Cortex-M3: Armv7-M, no DSP extension, no FPU.

Technical Reference Manual (DDI 0337H), table 3-1 and section 3.3.2 on pipelined loads and on words
that are not aligned. The manual gives ranges where the operands decide; the middle stands here:
long multiplications end early (SMULL 3 to 5, SMLAL 4 to 7), division takes 2 to 12.
"""

from __future__ import annotations

from deepcompress.target.core import Cpu, InOrder

LOADS = ("ldr", "ldrb", "ldrh", "ldrsb", "ldrsh")

TIMING = InOrder(
    source="Cortex-M3 TRM, DDI 0337H, table 3-1",
    limits="zero wait states; every taken branch refills the pipeline in 2 cycles (1 to 3); IT is "
    "never folded; loads overlap with the load or store before them even if its result is their "
    "address; an address that was just computed costs no more, a word that is not aligned only "
    "where that is asked for; long multiplications and divisions take the middle of their range",
    table=dict.fromkeys(LOADS, 2)
    | dict.fromkeys(("mla", "mls"), 2)
    | dict.fromkeys(("smull", "umull"), 4)
    | dict.fromkeys(("smlal", "umlal"), 6)
    | dict.fromkeys(("udiv", "sdiv"), 7)
    | dict.fromkeys(("tbb", "tbh"), 2),
    taken={"": 2},
    pipelined=True,
    splits_words=True,
)

CPUS = (
    Cpu(
        "cortex-m3",
        frozenset({"unaligned"}),
        cycle_factor=1.2,
        timing=TIMING,
        unicorn_model="CORTEX_M3",
        qemu_machine="mps2-an385",
        elf_architectures=(10,),  # v7
    ),
)
