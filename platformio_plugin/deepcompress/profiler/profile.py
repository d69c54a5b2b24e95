"""Profiles a firmware: the cost of each inference and layer, instruction by instruction.

An engine runs the ELF from reset to exit, or its inferences alone, and counts; this module turns
the calls into a table for people and JSON for programs (schema below, stable). Cycles are modelled
by the tables in `target/`, each of which names its source and what it leaves out. For a core
without such a table, `qemu_runner.py` counts instructions.

    {"schema": 1, "cpu", "source", "limits", "clock_hz", "wait_states", "unaligned", "exit_code",
     "inferences": [{"function", "instructions", "cycles", "stack_bytes", "flash_bytes"}],
     "functions": {name: {"role", "calls", "instructions", "cycles", "own_instructions",
                          "own_cycles", "stack_bytes", "flash_bytes", "code_bytes", "milliseconds",
                          "dense_macs", "cycles_per_dense_mac"}}}

`inferences` are in order of time. In `functions`, numbers are the average of one call, including
its callees, or excluding them for `own_...`; stack is the maximum of all calls, below the stack
pointer at entry; code excludes callees. A role is "inference", "layer" or "helper". What was not
requested, or is unknown for this core, is null.
"""

from __future__ import annotations

import fnmatch
import importlib.util
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepcompress.errors import UserError, did_you_mean
from deepcompress.profiler.call_tree import CallNode
from deepcompress.profiler.elf import Firmware, read_firmware
from deepcompress.profiler.engine import Engine, Request
from deepcompress.profiler.qemu_runner import QEMU_ENGINE
from deepcompress.profiler.unicorn_runner import UNICORN_ENGINE
from deepcompress.target import CPUS, find
from deepcompress.target.core import Cpu

SCHEMA = 1
INFERENCE = Request.function  # a pattern of function names
_PACKAGES = {"unicorn": "unicorn", "capstone": "capstone", "elftools": "pyelftools"}


@dataclass
class FunctionCost:
    """The sum over all calls of one function; the module's docstring says what is counted."""

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
    """One call of an inference, including its callees."""

    function: str
    instructions: int
    cycles: int
    stack_bytes: int
    flash_bytes: int


@dataclass(frozen=True)
class Profile:
    """What a run measured.

    Attributes:
        request: what was asked for.
        counts_cycles: False if only instructions are known.
        source, limits: where the numbers come from, and what they leave out.
        costs: by function: inferences first, then layers in the order of their first call, then
            what these call.
        dense_macs: by function, products of the layer if it were dense.
    """

    cpu: Cpu
    request: Request
    counts_cycles: bool
    source: str
    limits: str
    exit_code: int | None
    inferences: tuple[Inference, ...]
    costs: Mapping[str, FunctionCost]
    dense_macs: Mapping[str, int] = field(default_factory=dict)

    @property
    def counts_flash_reads(self) -> bool:
        return self.request.flash_reads or self.request.wait_states > 0


def profile(
    elf: Path, request: Request | None = None, *, dense_macs: Mapping[str, int] | None = None
) -> Profile:
    """Runs a firmware to its end and counts the calls of its inferences.

    Args:
        elf: linked for a virtual board, where semihosting's exit ends the run; for a request
            `alone`, linked for any Cortex-M.
        dense_macs: products of each layer's function, for cycles per product.

    Raises:
        UserError: it is not a firmware that can be profiled, or a package is missing.
    """
    request = request or Request()
    _require_packages()
    firmware = read_firmware(elf)
    cpu = _known_cpu(request.cpu or firmware.cpu, elf)
    engine: Engine = UNICORN_ENGINE if cpu.timing else QEMU_ENGINE
    trace = engine.trace(firmware, cpu, _addresses(firmware, request.function), request)
    if not trace.inferences:
        raise UserError(
            f"it never called {request.function} before it ended with exit code {trace.exit_code}",
            f"firmware {elf}",
            "Check that it finds its files (--directory), or name a function that runs "
            "(--function)",
        )
    source, limits = engine.model(cpu)
    targets = {call.function.name for call in trace.inferences}
    targets |= {f.name for f in firmware.functions if fnmatch.fnmatchcase(f.name, INFERENCE)}
    return Profile(
        cpu=cpu,
        request=request,
        counts_cycles=engine.counts_cycles,
        source=source,
        limits=limits,
        exit_code=trace.exit_code,
        inferences=tuple(_inference(call) for call in trace.inferences),
        costs=_costs(trace.inferences, targets),
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
    known = ", ".join(cpu.name for cpu in CPUS.values() if cpu.has_simulator)
    if name is None:
        raise UserError(
            "its build attributes do not name a CPU", f"firmware {elf}", f"Give --cpu: {known}"
        )
    cpu = find(name)
    if not cpu.has_simulator:
        raise UserError(
            f"{cpu.name} cannot be profiled: no simulator of it is known",
            f"firmware {elf}",
            f"Profile a build for one of {known}",
        )
    return cpu


def _addresses(firmware: Firmware, pattern: str) -> frozenset[int]:
    names = [f.name for f in firmware.functions]
    found = fnmatch.filter(names, pattern)
    if not found:
        raise UserError(
            f"it has no function {pattern}{did_you_mean(pattern, names)}",
            f"firmware {firmware.path}",
            "Name one with --function; a function that the compiler inlined no longer exists",
        )
    return frozenset(f.address for f in firmware.functions if f.name in found)


# --- calls to costs


@dataclass(frozen=True)
class _Total:
    instructions: int
    cycles: int
    flash_bytes: int


def _total(call: CallNode) -> _Total:
    """Sums over a node and all below it."""
    below = list(call.walk())
    return _Total(
        sum(c.instructions for c in below),
        sum(c.cycles for c in below),
        sum(c.flash_bytes for c in below),
    )


def _inference(call: CallNode) -> Inference:
    total = _total(call)
    return Inference(
        call.function.name, total.instructions, total.cycles, call.stack_bytes, total.flash_bytes
    )


def _costs(inferences: tuple[CallNode, ...], targets: set[str]) -> dict[str, FunctionCost]:
    """Costs by function; a function that an inference calls directly is a layer."""
    costs: dict[str, FunctionCost] = {}

    def add(call: CallNode, above: tuple[str, ...]) -> None:
        name = call.function.name
        role = "inference" if name in targets else "helper"
        if role == "helper" and above[-1] in targets:
            role = "layer"
        cost = costs.setdefault(name, FunctionCost(role, call.function.size))
        cost.calls += call.calls
        cost.own_instructions += call.instructions
        cost.own_cycles += call.cycles
        cost.stack_bytes = max(cost.stack_bytes, call.stack_bytes)
        if name not in above:  # a recursive call is counted already
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


# --- tables and JSON


def to_json(measured: Profile) -> dict[str, Any]:
    """The profile as a JSON value; the module's docstring has the schema."""
    return {
        "schema": SCHEMA,
        "cpu": measured.cpu.name,
        "source": measured.source,
        "limits": measured.limits,
        "clock_hz": measured.request.clock_hz,
        "wait_states": measured.request.wait_states,
        "unaligned": measured.request.unaligned,
        "exit_code": measured.exit_code,
        "inferences": [
            vars(inference) | dict.fromkeys(_unknown(measured)) for inference in measured.inferences
        ],
        "functions": {name: _row(measured, name, cost) for name, cost in measured.costs.items()},
    }


def _unknown(measured: Profile) -> list[str]:
    """Fields of an inference that were not measured."""
    if not measured.counts_cycles:
        return ["cycles", "stack_bytes", "flash_bytes"]
    return [] if measured.counts_flash_reads else ["flash_bytes"]


def _row(measured: Profile, name: str, cost: FunctionCost) -> dict[str, Any]:
    """The average of one call of a function."""
    cycles = cost.cycles / cost.calls
    clock_hz = measured.request.clock_hz
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
    """The profile as a table: a line per inference and layer, with the cost of one call."""
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
    cycles = [inference.cycles for inference in measured.inferences]
    what = "Cycles are modelled" if measured.counts_cycles else "Instructions are counted"
    notes = [
        *textwrap.wrap(f"{what} for {measured.cpu.name}: {measured.source}.", 90),
        *textwrap.wrap(f"The model: {measured.limits}.", 90),
    ]
    if len(set(cycles)) > 1 and len({inference.function for inference in measured.inferences}) == 1:
        notes.append(f"Inferences took from {min(cycles):,} to {max(cycles):,} cycles.")
    if wait_states := measured.request.wait_states:
        notes.append(
            f"Flash: {wait_states} wait states per line of 16 bytes, no prefetch, no cache."
        )
    if measured.request.unaligned:
        notes.append("Unaligned words are counted with 1 or 2 extra cycles.")
    if measured.exit_code:
        notes.append(f"The firmware ended with exit code {measured.exit_code}.")
    return notes
