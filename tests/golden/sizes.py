"""Flash, RAM, stack, code and cycles of a few golden networks, and how they differ from a baseline.

Flash and RAM are those of the report. Code, stack and cycles are measured (`measure.py`).
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from golden import measure
from golden.cases import Case
from golden.diff import NUMBERS, SUM, Change, function_changes, in_parallel, reported, sums
from golden.generate import generate
from golden.measure import Function, Measured
from golden.networks import NETWORKS

BASELINE = Path(__file__).resolve().parents[2] / "benchmarks" / "baseline.json"
# Dense and sparse convolutions, linear layers, a recurrent layer, and a stream.
NAMES = ("convolutions", "delta4", "lenet", "gru", "stream")
CASES = [Case(name, cpu, "balanced") for name in NAMES for cpu in ("m0plus", "m4")]
_MEMORY = ("flash", "ram")


@dataclass(frozen=True)
class Sizes:
    """The numbers of one case.

    Attributes:
        memory: bytes of flash and RAM.
        measured: its functions, without digests.
    """

    memory: Mapping[str, int]
    measured: Measured


@dataclass(frozen=True)
class Baseline:
    """The numbers of all cases, and the version of the C compiler that made them."""

    compiler: str
    sizes: Mapping[Case, Sizes]


def measure_now(root: Path, scratch: Path) -> Baseline:
    """The numbers of the working tree.

    Args:
        scratch: an empty folder for sources and objects.
    """
    networks = [replace(n, goals=("balanced",)) for n in NETWORKS if n.name in NAMES]
    texts = {case: made for case, made in generate(networks) if case in CASES}

    def sizes(case: Case) -> Sizes:
        source = measure.write_sources(case, texts[case], scratch / str(case), root)
        measured = measure.compiled(source, source.folder)
        measured = measure.with_inference(measured, source, source.folder)
        functions = {name: replace(f, digest="") for name, f in measured.functions.items()}
        facts = reported(texts[case])
        memory = {what: facts[what] for what in _MEMORY}
        return Sizes(memory, replace(measured, functions=functions))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return Baseline(_compiler(), in_parallel(pool, sizes, CASES))


def _compiler() -> str:
    command = ["arm-none-eabi-gcc", "-dumpfullversion"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return f"{command[0]} {done.stdout.strip()}"


# --- the file


def write(baseline: Baseline, path: Path = BASELINE) -> None:
    """Writes all numbers as JSON."""
    networks = {str(case): _facts(sizes) for case, sizes in baseline.sizes.items()}
    facts = {"compiler": baseline.compiler, "networks": networks}
    path.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def read(path: Path = BASELINE) -> Baseline:
    """The numbers that `write` wrote."""
    facts = json.loads(path.read_text(encoding="utf-8"))
    sizes = {_case(name): _sizes(network) for name, network in facts["networks"].items()}
    return Baseline(facts["compiler"], sizes)


def _facts(sizes: Sizes) -> dict:
    functions = {
        name: {what: getattr(function, field) for what, field in NUMBERS.items()}
        for name, function in sorted(sizes.measured.functions.items())
    }
    inference = {"stack": sizes.measured.stack_bytes, "cycles": sizes.measured.cycles}
    return {**sizes.memory, **inference, "functions": functions}


def _sizes(facts: dict) -> Sizes:
    functions = {
        name: Function("", **{field: numbers[what] for what, field in NUMBERS.items()})
        for name, numbers in facts["functions"].items()
    }
    measured = Measured(functions, facts["cycles"], facts["stack"])
    return Sizes({what: facts[what] for what in _MEMORY}, measured)


def _case(text: str) -> Case:
    name, target = text.split(" ")
    return Case(name, *target.split("-"))


# --- comparing


def changes(before: Mapping[Case, Sizes], after: Mapping[Case, Sizes]) -> list[Change]:
    """All numbers of each network, and those of its functions that differ.

    A network that one side does not have is compared with nothing.
    """
    found = []
    for case in dict.fromkeys([*before, *after]):
        old, new = before.get(case), after.get(case)
        one, other = _of_network(old), _of_network(new)
        found += [Change(case, SUM, what, one.get(what), other.get(what)) for what in one | other]
        if old and new:
            functions = function_changes(case, old.measured, new.measured)
            found += [change for change in functions if change.function != SUM]
    return found


def _of_network(sizes: Sizes | None) -> dict[str, int | None]:
    if sizes is None:
        return {}
    return {**sizes.memory, **dict(zip(NUMBERS, sums(sizes.measured), strict=True))}
