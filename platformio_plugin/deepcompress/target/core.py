"""What a CPU file states: which instructions the core has, and how many cycles code takes on it.

Timing looks at one basic block at a time, so a firmware's cycles are a sum over blocks that is
looked up, not computed, while it runs. What cannot be seen within a block (caches, interrupts,
other bus masters, a result still in flight at the end of the block) is outside every model here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Instruction:
    """One Thumb instruction, as far as timing needs to know it.

    Attributes:
        name: Arm's mnemonic without condition, flags and width: "ldr" for `ldrne.w`.
        words: 32-bit words that a load or store moves, 0 otherwise.
        reads, writes: registers, such as "r3", "sp", "s0".
        addresses: the registers of `reads` that form an address.
        shifts: whether an operand is shifted on its way, as in `add r0, r1, r2, lsl #4`.
        pushed: bytes by which it certainly lowers the stack pointer.
    """

    name: str
    words: int = 0
    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    addresses: frozenset[str] = frozenset()
    shifts: bool = False
    pushed: int = 0


@dataclass(frozen=True)
class BlockCost:
    """Cycles of a block that runs on into the next address, and what leaving it by a jump adds."""

    cycles: int
    taken: int


class Timing(Protocol):
    """The cycle model of a core at zero wait states."""

    @property
    def source(self) -> str:
        """Where the numbers are from."""

    @property
    def limits(self) -> str:
        """What the model does not know, as a sentence."""

    @property
    def splits_words(self) -> bool:
        """Whether an unaligned word takes a cycle for each further part."""

    def cost(self, block: Sequence[Instruction]) -> BlockCost: ...


# What kernels may require of a core. An optional unit (the FPU of an M4, the DSP extension of an
# M33) counts as present.
FEATURES = {
    "dsp": "the DSP extension: two 16-bit products per instruction",
    "mve": "the M-profile vector extension (Helium)",
    "fpu": "a floating-point unit for single precision",
    "unaligned": "loads of words from any address",
}


@dataclass(frozen=True)
class Cpu:
    """One core.

    Attributes:
        name: as gcc's -mcpu spells it.
        features: keys of `FEATURES`.
        cycle_factor: cycles of portable code relative to Cortex-M4 at zero wait states; for the
            cost model.
        timing: None if no cycle model of the core exists.
        unicorn_model: Unicorn's model of the core, of its UC_CPU_ARM_ constants, which counts
            cycles by `timing`.
        qemu_machine: QEMU's machine with the core, on which a firmware without `timing` runs.
        elf_architectures: values of Tag_CPU_arch (Arm IHI 0045) for which a firmware that does not
            name its CPU is taken to be for this one.
    """

    name: str
    features: frozenset[str] = frozenset()
    cycle_factor: float = 1.0
    timing: Timing | None = None
    unicorn_model: str | None = None
    qemu_machine: str | None = None
    elf_architectures: tuple[int, ...] = ()

    @property
    def has_simulator(self) -> bool:
        """Whether the profiler can run firmware of this core."""
        return self.timing is not None or self.qemu_machine is not None


SINGLE = frozenset({"ldr", "ldrb", "ldrh", "ldrsb", "ldrsh", "str", "strb", "strh"})
MULTIPLE = frozenset(
    {"ldm", "ldmdb", "stm", "stmdb", "push", "pop", "ldrd", "strd"}
    | {"vldr", "vstr", "vldmia", "vldmdb", "vstmia", "vstmdb", "vpush", "vpop"}
)


@dataclass(frozen=True)
class InOrder:
    """A core that issues one instruction at a time: a table, and two rules for memory.

    Attributes:
        table: cycles by instruction name; a name that is absent takes 1, a multiple transfer
            1 and 1 for each word.
        taken: cycles that a jump adds, by the name of the jump; "" for all others.
        pipelined: whether a single load right after a single load or store takes 1 cycle.
        splits_words: see `Timing`; not part of `cost`, because only a run knows addresses.
    """

    source: str
    limits: str
    table: Mapping[str, int]
    taken: Mapping[str, int]
    pipelined: bool = False
    splits_words: bool = False

    def cost(self, block: Sequence[Instruction]) -> BlockCost:
        cycles = 0
        after_single = False
        for instruction in block:
            name = instruction.name
            default = 1 + instruction.words if name in MULTIPLE else 1
            single = name in SINGLE
            hidden = self.pipelined and single and after_single
            cycles += 1 if hidden else self.table.get(name, default)
            after_single = single
        last = block[-1].name if block else ""
        return BlockCost(cycles, self.taken.get(last, self.taken[""]))
