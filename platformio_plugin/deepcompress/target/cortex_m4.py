"""Cortex-M4: Armv7E-M with DSP extension, single precision FPU in the M4F.

Technical Reference Manual (DDI 0439D), table 3-1 for integers, table 7-1 for the FPU, section 3.3.2
on pipelined loads and on words that are not aligned. All multiplications, also the long and the
accumulating ones, take 1 cycle.
"""

from __future__ import annotations

from deepcompress.target.core import Cpu, InOrder
from deepcompress.target.cortex_m3 import LOADS

TABLE = (
    dict.fromkeys(LOADS, 2)
    | dict.fromkeys(("udiv", "sdiv"), 7)
    | dict.fromkeys(("tbb", "tbh"), 2)
    | dict.fromkeys(("vmla", "vmls", "vnmla", "vnmls", "vfma", "vfms", "vfnma", "vfnms"), 3)
    | dict.fromkeys(("vdiv", "vsqrt"), 14)
)

TIMING = InOrder(
    source="Cortex-M4 TRM, DDI 0439D, tables 3-1 and 7-1",
    limits="zero wait states; every taken branch refills the pipeline in 2 cycles (1 to 3); IT is "
    "never folded; loads overlap with the load or store before them even if its result is their "
    "address; an address that was just computed costs no more, a word that is not aligned only "
    "where that is asked for; division takes 7 cycles (2 to 12); no stall for an FPU result used "
    "at once",
    table=TABLE,
    taken={"": 2},
    pipelined=True,
    splits_words=True,
)

FEATURES = frozenset({"dsp", "fpu", "unaligned"})

CPUS = (
    Cpu(
        "cortex-m4",
        FEATURES,
        timing=TIMING,
        unicorn_model="CORTEX_M4",
        qemu_machine="mps2-an386",
        elf_architectures=(13,),  # v7E-M; an M7 has another FPU, see profiler/elf.py
    ),
)
