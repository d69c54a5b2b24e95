"""What an inference costs on its CPU: the real firmware, run instruction by instruction.

`simulate.py` runs the ELF from reset to exit, or its inferences alone, and counts; here its calls
become a table for people and JSON for programs (schema below, stable). Cycles are modelled by the
tables in `cpus/`, each of which names its source and what it leaves out. Of a core that has no such
table, `qemu_runner.py` counts instructions.

    {"schema": 1, "cpu", "source", "limits", "clock_hz", "wait_states", "unaligned", "exit_code",
     "inferences": [{"function", "instructions", "cycles", "stack_bytes", "flash_bytes"}],
     "functions": {name: {"role", "calls", "instructions", "cycles", "own_instructions",
                          "own_cycles", "stack_bytes", "flash_bytes", "code_bytes", "milliseconds",
                          "dense_macs", "cycles_per_dense_mac"}}}

`inferences` are in order of time. In `functions`, numbers are those of one call on average, with
all that it calls, or without for `own_...`; stack is the most of any call, below its stack pointer
at entry; code is the function's own. A role is "inference", "layer" or "helper". What was not
asked for, or is not known of this core, is null.
"""

from __future__ import annotations

import fnmatch
import importlib.util
import io
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from deepcompress.errors import UserError, did_you_mean
from deepcompress.profiler import qemu_runner
from deepcompress.profiler.call_tree import Call
from deepcompress.profiler.elf import Firmware, read_firmware
from deepcompress.profiler.unicorn_runner import CLOCK_HZ, Limits, call_alone, simulate
from deepcompress.target import CPUS, Cpu, find

SCHEMA = 1
INFERENCE = "*_infer_*"
_PACKAGES = {"unicorn": "unicorn", "capstone": "capstone", "elftools": "pyelftools"}


@dataclass
class Cost:
    """All calls of one function together; see the module's text for what is counted."""

    role: str
    code_bytes: int
    calls: int = 0
    instructions: int = 0
    cycles: int = 0
    own_instructions: int = 0
    own_cycles: int = 0
    stack_bytes: int = 0
    flash_bytes: int = 0


@dataclass(frozen=True)
class Inference:
    """One call of an inference, with all that it calls."""

    function: str
    instructions: int
    cycles: int
    stack_bytes: int
    flash_bytes: int


@dataclass(frozen=True)
class Profile:
    """Attributes: `costs` by function, inferences first, then layers in the order of their first
    call, then what these call; `flash_reads` and `unaligned` tell whether that was counted."""

    cpu: Cpu
    wait_states: int
    flash_reads: bool
    unaligned: bool
    exit_code: int | None
    inferences: tuple[Inference, ...]
    costs: Mapping[str, Cost]
    clock_hz: int | None = None
    dense_macs: Mapping[str, int] = field(default_factory=dict)


def profile(
    elf: Path,
    *,
    cpu: str | None = None,
    function: str | None = None,
    calls: int | None = None,
    alone: bool = False,
    folder: Path | None = None,
    flash_wait_states: int = 0,
    flash_reads: bool = False,
    unaligned: bool = False,
    clock_hz: int | None = None,
    dense_macs: Mapping[str, int] | None = None,
    console: IO[bytes] | None = None,
    instruction_limit: int = Limits.instructions,
) -> Profile:
    """Runs a firmware to its end and counts the calls of its inferences.

    Args:
        elf: linked for a virtual board, where it ends by semihosting's exit; with `alone` for any.
        cpu: such as "cortex-m4"; by default what the ELF's build attributes say.
        function: what counts as an inference, a name or a pattern of the shell; by default
            `*_infer_*`. An inference called by another is part of it.
        calls: stop after so many inferences; by default when the firmware exits.
        alone: call each inference once by itself, on zeros; see `call_alone`.
        folder: the files that the firmware sees; by default the working directory.
        flash_wait_states: see `simulate`.
        flash_reads: count bytes loaded from flash, constants and literals; slower.
        unaligned: count what words that are not aligned cost on this CPU; slower.
        clock_hz: to tell milliseconds.
        dense_macs: products of each layer's function, to tell cycles a product.
        console: where the firmware's output goes; by default nowhere.

    Raises:
        UserError: not a firmware that can be profiled, or a package is missing.
    """
    _require_packages()
    firmware = read_firmware(elf)
    core = _known_cpu(cpu or firmware.cpu, elf)
    inferences = _addresses(firmware, function or INFERENCE)
    limits = Limits(None if alone else calls, instruction_limit)
    where = {"folder": folder or Path.cwd(), "console": console or io.BytesIO()}
    memory = {
        "wait_states": flash_wait_states,
        "flash_reads": flash_reads,
        "unaligned": unaligned,
    }
    if core.timing is None:
        _refuse_unknown(core, alone or any(memory.values()))
        trace = qemu_runner.trace(firmware, core, inferences=inferences, limits=limits, **where)
    elif unaligned and not core.timing.splits_words:
        raise UserError(
            f"it is not known what a word that is not aligned costs a {core.name}",
            "option --unaligned",
            "Leave it out; of a Cortex-M3 and a Cortex-M4 it is known",
        )
    elif alone:
        trace = call_alone(firmware, core, inferences=inferences, limits=limits, **memory)
    else:
        hz = clock_hz or CLOCK_HZ
        trace = simulate(
            firmware, core, inferences=inferences, limits=limits, clock_hz=hz, **where, **memory
        )
    if not trace.inferences:
        raise UserError(
            f"it never called {function or INFERENCE} before it ended with exit code "
            f"{trace.exit_code}",
            f"firmware {elf}",
            "See that it finds its files (--directory), or name a function that runs (--function)",
        )
    targets = {call.function.name for call in trace.inferences}
    targets |= {f.name for f in firmware.functions if fnmatch.fnmatchcase(f.name, INFERENCE)}
    return Profile(
        cpu=core,
        wait_states=flash_wait_states,
        flash_reads=flash_reads or flash_wait_states > 0,
        unaligned=unaligned,
        exit_code=trace.exit_code,
        inferences=tuple(_inference(call) for call in trace.inferences),
        costs=_costs(trace.inferences, targets),
        clock_hz=clock_hz,
        dense_macs=dense_macs or {},
    )


def _require_packages() -> None:
    missing = [pip for name, pip in _PACKAGES.items() if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"it needs {' and '.join(missing)}, which this Python does not have",
            "deepcompress profile",
            f"Install: {sys.executable} -m pip install {' '.join(missing)}",
        )


def _known_cpu(name: str | None, elf: Path) -> Cpu:
    known = ", ".join(cpu.name for cpu in CPUS.values() if cpu.family in qemu_runner.MACHINES)
    if name is None:
        raise UserError(
            "it does not say which CPU it was built for", f"firmware {elf}", f"Give --cpu: {known}"
        )
    cpu = find(name)
    if cpu.family not in qemu_runner.MACHINES:
        raise UserError(
            f"{cpu.name} cannot be profiled: it is no Cortex-M",
            f"firmware {elf}",
            f"Profile a build for one of {known}",
        )
    return cpu


def _refuse_unknown(cpu: Cpu, asked: object) -> None:
    if asked:
        raise UserError(
            f"of a {cpu.name} only instructions are known, and only of a run from its reset",
            "options --alone, --wait-states, --flash-reads, --unaligned",
            "Leave them out, and profile a build for the virtual board of this core",
        )


def _addresses(firmware: Firmware, pattern: str) -> frozenset[int]:
    names = [f.name for f in firmware.functions]
    found = fnmatch.filter(names, pattern)
    if not found:
        raise UserError(
            f"no function in it is called {pattern}{did_you_mean(pattern, names)}",
            f"firmware {firmware.path}",
            "Name one with --function; a function that the compiler inlined is not there any more",
        )
    return frozenset(f.address for f in firmware.functions if f.name in found)


# --- from calls to costs


@dataclass(frozen=True)
class _Total:
    instructions: int
    cycles: int
    flash_bytes: int


def _total(call: Call) -> _Total:
    """A call with all below it."""
    below = list(call.walk())
    return _Total(
        sum(c.instructions for c in below),
        sum(c.cycles for c in below),
        sum(c.flash_bytes for c in below),
    )


def _inference(call: Call) -> Inference:
    total = _total(call)
    return Inference(
        call.function.name, total.instructions, total.cycles, call.stack_bytes, total.flash_bytes
    )


def _costs(inferences: tuple[Call, ...], targets: set[str]) -> dict[str, Cost]:
    """Costs by function; what an inference calls itself is a layer."""
    costs: dict[str, Cost] = {}

    def add(call: Call, above: tuple[str, ...]) -> None:
        name = call.function.name
        role = "inference" if name in targets else "helper"
        if role == "helper" and above[-1] in targets:
            role = "layer"
        cost = costs.setdefault(name, Cost(role, call.function.size))
        cost.calls += call.calls
        cost.own_instructions += call.instructions
        cost.own_cycles += call.cycles
        cost.stack_bytes = max(cost.stack_bytes, call.stack_bytes)
        if name not in above:  # within itself it is counted already
            total = _total(call)
            cost.instructions += total.instructions
            cost.cycles += total.cycles
            cost.flash_bytes += total.flash_bytes
        for callee in call.callees.values():
            add(callee, (*above, name))

    for inference in inferences:
        add(inference, ())
    order = ("inference", "layer", "helper")
    return dict(sorted(costs.items(), key=lambda item: order.index(item[1].role)))


# --- for people and programs


def to_json(measured: Profile) -> dict[str, Any]:
    """The profile as a JSON value; the module's text has the schema."""
    source, limits = _model(measured)
    return {
        "schema": SCHEMA,
        "cpu": measured.cpu.name,
        "source": source,
        "limits": limits,
        "clock_hz": measured.clock_hz,
        "wait_states": measured.wait_states,
        "unaligned": measured.unaligned,
        "exit_code": measured.exit_code,
        "inferences": [
            vars(inference) | dict.fromkeys(_unknown(measured)) for inference in measured.inferences
        ],
        "functions": {name: _row(measured, name, cost) for name, cost in measured.costs.items()},
    }


def _model(measured: Profile) -> tuple[str, str]:
    """Where the numbers are from, and what they leave out."""
    timing = measured.cpu.timing
    return (timing.source, timing.limits) if timing else (qemu_runner.SOURCE, qemu_runner.LIMITS)


def _unknown(measured: Profile) -> list[str]:
    """Fields of an inference that were not measured."""
    if measured.cpu.timing is None:
        return ["cycles", "stack_bytes", "flash_bytes"]
    return [] if measured.flash_reads else ["flash_bytes"]


def _row(measured: Profile, name: str, cost: Cost) -> dict[str, Any]:
    """One call of a function on average."""
    cycles = cost.cycles / cost.calls
    clock_hz = measured.clock_hz
    macs = measured.dense_macs.get(name.split(".")[0])  # gcc's clones are lenet5_conv1.isra.0
    row = {
        "role": cost.role,
        "calls": cost.calls,
        "instructions": cost.instructions / cost.calls,
        "cycles": cycles,
        "own_instructions": cost.own_instructions / cost.calls,
        "own_cycles": cost.own_cycles / cost.calls,
        "stack_bytes": cost.stack_bytes,
        "flash_bytes": cost.flash_bytes / cost.calls,
        "code_bytes": cost.code_bytes,
        "milliseconds": 1e3 * cycles / clock_hz if clock_hz else None,
        "dense_macs": macs,
        "cycles_per_dense_mac": cycles / macs if macs else None,
    }
    unknown = _unknown(measured)
    if "cycles" in unknown:
        unknown += ["own_cycles", "milliseconds", "cycles_per_dense_mac"]
    return row | dict.fromkeys(unknown)


_COLUMNS = (
    ("calls", "calls", "{:,}"),
    ("instructions", "instructions", "{:,.0f}"),
    ("cycles", "cycles", "{:,.0f}"),
    ("per MAC", "cycles_per_dense_mac", "{:.2f}"),
    ("ms", "milliseconds", "{:.3f}"),
    ("stack B", "stack_bytes", "{:,}"),
    ("code B", "code_bytes", "{:,}"),
    ("flash read B", "flash_bytes", "{:,.0f}"),
)


def table(measured: Profile) -> str:
    """The profile as a person reads it: a line an inference and a layer, what one call costs."""
    from deepcompress.report.text_table import columns

    functions = {
        name: _row(measured, name, cost)
        for name, cost in measured.costs.items()
        if cost.role != "helper"
    }
    shown = [c for c in _COLUMNS if any(row[c[1]] is not None for row in functions.values())]
    rows = [["function", *(title for title, _, _ in shown)]]
    for name, row in functions.items():
        indent = "  " if row["role"] == "layer" else ""
        values = [(form, row[key]) for _, key, form in shown]
        texts = ["" if value is None else form.format(value) for form, value in values]
        rows.append([indent + name, *texts])
    lines = columns(rows, right=tuple(range(1, len(rows[0]))))
    return "\n".join([*lines, "", *_notes(measured)])


def _notes(measured: Profile) -> list[str]:
    source, limits = _model(measured)
    cycles = [inference.cycles for inference in measured.inferences]
    what = "Cycles are modelled" if measured.cpu.timing else "Instructions are counted"
    notes = [
        *textwrap.wrap(f"{what} for {measured.cpu.name}: {source}.", 90),
        *textwrap.wrap(f"The model: {limits}.", 90),
    ]
    if len(set(cycles)) > 1 and len({inference.function for inference in measured.inferences}) == 1:
        notes.append(f"Inferences took from {min(cycles):,} to {max(cycles):,} cycles.")
    if measured.wait_states:
        notes.append(
            f"Flash: {measured.wait_states} wait states a line of 16 bytes, no prefetch, no cache."
        )
    if measured.unaligned:
        notes.append("Words that are not aligned cost 1 or 2 cycles more, and are counted so.")
    if measured.exit_code:
        notes.append(f"The firmware ended with exit code {measured.exit_code}.")
    return notes
