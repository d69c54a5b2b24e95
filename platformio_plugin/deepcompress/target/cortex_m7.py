"""Cortex-M7: Armv7E-M, six stages, two instructions a cycle where a pair allows it.

Arm publishes no instruction timing for this core (its TRM, DDI 0489, has none). Units and
latencies here are those of LLVM's scheduling model (ARMScheduleM7.td), simplified: instructions
start in order, at most two a cycle, each on free units of its kinds, when what it reads is ready.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from deepcompress.target.core import MULTIPLE, BlockCost, Cpu, Instruction
from deepcompress.target.cortex_m4 import FEATURES

# How many instructions of a kind may start in one cycle.
_UNITS = {"load": 2, "store": 1, "alu": 2, "shift": 1, "simd": 1, "mac": 1, "fpu": 1, "branch": 1}

# Kind by the beginning of the name; the first row that fits decides, "alu" if none does.
_KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("load", ("ldr", "vldr")),
    ("store", ("str", "vstr")),
    ("fpu", ("v",)),
    ("mac", ("mul", "mla", "mls", "sml", "smm", "smu", "umul", "uml", "umaal")),
    ("simd", ("sxt", "uxt", "pkh", "sadd", "uadd", "ssub", "usub", "sha", "uha", "shs", "uhs")),
    ("simd", ("qadd", "qsub", "qd", "uq", "usad", "ssat", "usat", "sel", "rev", "rbit", "clz")),
    ("shift", ("lsl", "lsr", "asr", "ror", "rrx", "ubfx", "sbfx", "bfi", "bfc")),
    ("branch", ("bl", "bx", "cb")),
)
_ACCUMULATORS = ("mla", "mls", "sml", "smml", "uml", "umaal", "vmla", "vmls", "vfma", "vfms")
_SLOW_LOADS = ("ldrb", "ldrh", "ldrsb", "ldrsh")
_ALONE = {"sdiv": 7, "udiv": 7, "vdiv": 16, "vsqrt": 16, "tbb": 2, "tbh": 2} | dict.fromkeys(
    ("mrs", "msr", "dmb", "dsb", "isb"), 3
)


@dataclass(frozen=True)
class DualIssue:
    """Two instructions a cycle, in order; a result in flight at a block's end is forgotten."""

    source: str
    limits: str
    taken: int
    splits_words: bool = False

    def cost(self, block: Sequence[Instruction]) -> BlockCost:
        issue = _Issue()
        for instruction in block:
            issue.start(instruction)
        return BlockCost(issue.cycle + (issue.slots > 0), self.taken)


@dataclass
class _Issue:
    """The cycle being filled: how many instructions and units it has taken."""

    cycle: int = 0
    slots: int = 0
    units: Counter[str] = field(default_factory=Counter)
    ready: dict[str, int] = field(default_factory=dict)  # register -> cycle of its value

    def start(self, instruction: Instruction) -> None:
        alone = _ALONE.get(instruction.name)
        if instruction.name in MULTIPLE and instruction.words > 1:
            alone = instruction.words
        kind = _kind(instruction.name)
        units = (kind, "shift") if instruction.shifts else (kind,)
        self._wait_for(instruction)
        first = alone or kind == "simd"  # these start a pair or stand alone
        if (
            self.slots == 2
            or any(self.units[unit] == _UNITS[unit] for unit in units)
            or (first and self.slots)
        ):
            self._next_cycle(self.cycle + 1)
        self.slots += 1
        self.units.update(units)
        if alone:
            self._next_cycle(self.cycle + alone)
        done = self.cycle + (0 if alone else _latency(instruction.name, kind))
        self.ready.update(dict.fromkeys(instruction.writes, done))

    def _wait_for(self, instruction: Instruction) -> None:
        """An address or a shifted operand is needed a cycle early, an accumulator a cycle late."""
        needed = {register: self.ready.get(register, 0) for register in instruction.reads}
        for register in needed:
            if register in instruction.addresses or instruction.shifts:
                needed[register] += register in self.ready
            elif instruction.name.startswith(_ACCUMULATORS) and register in instruction.writes:
                needed[register] -= 1
        latest = max(needed.values(), default=0)
        if latest > self.cycle:
            self._next_cycle(latest)

    def _next_cycle(self, cycle: int) -> None:
        if cycle > self.cycle:
            self.cycle, self.slots = cycle, 0
            self.units.clear()


def _kind(name: str) -> str:
    if name == "b":
        return "branch"
    return next((kind for kind, starts in _KINDS if name.startswith(starts)), "alu")


def _latency(name: str, kind: str) -> int:
    if kind == "fpu":
        return 3
    return 2 if kind == "mac" or name.startswith(_SLOW_LOADS) else 1


TIMING = DualIssue(
    source="LLVM's scheduling model, ARMScheduleM7.td; Arm publishes none",
    limits="an approximation: code and data in TCM or in caches that always hit; a jump costs 1 "
    "cycle, between 0 (predicted) and 4 (not); IT takes a slot; a result in flight at the end of "
    "a block counts as ready",
    taken=1,
)

CPUS = (
    Cpu(
        "cortex-m7",
        FEATURES,
        cycle_factor=0.6,
        timing=TIMING,
        unicorn_model="CORTEX_M7",
        qemu_machine="mps2-an500",
    ),
)
