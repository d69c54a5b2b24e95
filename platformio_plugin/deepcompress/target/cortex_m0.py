"""Cortex-M0 and M0+: Armv6-M, no DSP, no divider, no unaligned access.

Cortex-M0: Technical Reference Manual (DDI 0432C), table 3-1, three-stage pipeline.
Cortex-M0+: Technical Reference Manual (DDI 0484C), table 3-1, two-stage pipeline.
The multiplier takes 1 cycle or, in the chip maker's small option, 32; gcc calls the latter
`.small-multiply`, and so do we. Most M0+ chips have the fast one.
"""

from __future__ import annotations

from deepcompress.target.core import SINGLE, Cpu, InOrder

_LIMITS = "zero wait states; loads from a single-cycle I/O port count as 2 cycles"
_SMALL_MULTIPLY = 32
_ARMV6M = (11, 12)  # v6-M, v6S-M


def _m0(multiply: int) -> InOrder:
    return InOrder(
        source="Cortex-M0 TRM, DDI 0432C, table 3-1",
        limits=_LIMITS,
        table=dict.fromkeys(SINGLE, 2)
        | {"mul": multiply}
        | dict.fromkeys(("mrs", "msr", "dmb", "dsb", "isb"), 4),
        taken={"": 2, "bl": 3, "pop": 3},
    )


def _m0plus(multiply: int) -> InOrder:
    return InOrder(
        source="Cortex-M0+ TRM, DDI 0484C, table 3-1",
        limits=_LIMITS,
        table=dict.fromkeys(SINGLE, 2)
        | {"mul": multiply}
        | dict.fromkeys(("mrs", "msr", "dmb", "dsb", "isb"), 3),
        taken={"": 1, "bl": 2, "pop": 2},
    )


CPUS = tuple(
    Cpu(
        name,
        cycle_factor=1.7,
        timing=timing,
        # Unicorn has no M0+, whose instructions are those of the M0.
        unicorn_model="CORTEX_M0",
        qemu_machine="microbit",
        elf_architectures=architectures,
    )
    for name, timing, architectures in (
        ("cortex-m0", _m0(1), ()),
        ("cortex-m0.small-multiply", _m0(_SMALL_MULTIPLY), ()),
        ("cortex-m0plus", _m0plus(1), _ARMV6M),
        ("cortex-m0plus.small-multiply", _m0plus(_SMALL_MULTIPLY), ()),
    )
)
