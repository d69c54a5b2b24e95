"""Code size, stack and cycles of each function of the generated C on its CPU.

Code size and stack come from gcc and its object file. This project's profiler models the cycles of
one inference on zeros, for a Cortex-M0+ and a Cortex-M4. No timing of a Cortex-M55 is published, so
it has no cycles. `generic` is built as portable C for a Cortex-M4.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import arm_runner
from elftools.elf.elffile import ELFFile
from golden.cases import Case
from golden.generate import Profile, Request, profile

OPTIMIZE = "-O2"
# The CPU's name in arm_runner, and flags in addition to those of its board.
_BUILDS = {
    "m0plus": ("cortex-m0plus", ()),
    "m4": ("cortex-m4", ()),
    "m55": ("cortex-m55", ()),
    "generic": ("cortex-m4", ("-DDEEPCOMPRESS_PORTABLE",)),
}
_TIMED = ("m0plus", "m4", "generic")
MAIN = """\
#include "{name}.h"

/* Kept by the linker, and not called: the profiler calls it. */
const void *volatile called = (const void *){name}_infer_int8;

int main(void) {{
    return called == 0;
}}
"""


@dataclass(frozen=True)
class Function:
    """One function of an object file.

    Attributes:
        digest: a hash of its bytes and of what they refer to.
        stack_bytes: the size of its own frame.
        cycles: cycles of its own instructions in one inference; None if unknown or not called.
    """

    digest: str
    code_bytes: int
    stack_bytes: int
    cycles: int | None = None


@dataclass(frozen=True)
class Measured:
    """A source's functions, and the cost of one inference with all functions it calls.

    Attributes:
        cycles, stack_bytes: None if the CPU has no timing, or the source no inference.
    """

    functions: Mapping[str, Function]
    cycles: int | None = None
    stack_bytes: int | None = None


@dataclass(frozen=True)
class Source:
    """A C file that is compiled for a CPU of `CPUS`, with the library of the same revision.

    Attributes:
        tree: a folder that has include/ and src/.
        folder: contains `path` and its headers, and receives the build products.
    """

    path: Path
    cpu: str
    tree: Path

    @property
    def folder(self) -> Path:
        return self.path.parent


def write_sources(case: Case, texts: Mapping[str, str], folder: Path, tree: Path) -> Source:
    """A case's C in an empty folder."""
    folder.mkdir(parents=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return Source(folder / f"{case.network}.c", case.cpu, tree)


def preprocessed(source: Source) -> str:
    """A digest of all that the compiler reads; equal digests mean equal object files."""
    text = _gcc(source, "-E", "-P", source.path)
    return hashlib.sha256(f"{source.cpu}\n{text}".encode()).hexdigest()


def compiled(source: Source, out: Path) -> Measured:
    """The functions of a source that is compiled by itself, without the cost of an inference.

    Args:
        out: a folder for intermediate files.
    """
    out.mkdir(parents=True, exist_ok=True)
    return Measured(_functions(source, out))


def with_inference(measured: Measured, source: Source, out: Path) -> Measured:
    """The same with cycles and stack of an inference, if the CPU has a timing."""
    if source.cpu not in _TIMED:
        return measured
    profiled = _profile(source, out)
    (inference,) = profiled.inferences
    timed = {
        name: replace(function, cycles=profiled.costs[name].own_cycles)
        for name, function in measured.functions.items()
        if name in profiled.costs
    }
    return Measured({**measured.functions, **timed}, inference.cycles, inference.stack_bytes)


def _functions(source: Source, out: Path) -> dict[str, Function]:
    target = out / f"{source.path.stem}.o"
    _gcc(source, "-fstack-usage", "-c", source.path, "-o", target)
    stack = read_stack(target.with_suffix(".su").read_text(encoding="utf-8"))
    with target.open("rb") as file:
        return {
            name: Function(digest, size, stack.get(name, 0))
            for name, (size, digest) in _code(ELFFile(file)).items()
        }


def _profile(source: Source, out: Path) -> Profile:
    """One inference, called by itself on zeros."""
    name = source.path.stem
    main = out / "main.c"
    main.write_text(MAIN.format(name=name), encoding="utf-8")
    cpu, flags = _BUILDS[source.cpu]
    elf = arm_runner.link(
        [source.path, main, *sorted((source.tree / "src").glob("*.c"))],
        folder=out,
        cpu=cpu,
        flags=(OPTIMIZE, *flags, f"-I{source.tree / 'include'}", f"-I{source.folder}"),
    )
    return profile(elf, Request(cpu=cpu, function=f"{name}_infer_int8", alone=True))


def read_stack(text: str) -> dict[str, int]:
    """Bytes of each function's frame, from what -fstack-usage writes."""
    lines = (line.split("\t") for line in text.splitlines())
    return {where.split(":")[-1]: int(size) for where, size, _ in lines}


def _code(elf: ELFFile) -> dict[str, tuple[int, str]]:
    """Size and digest of each function's section, by the function's name."""
    digests = {}
    for index, section in enumerate(elf.iter_sections()):
        if section.name.startswith(".text."):
            digests[index] = hashlib.sha256(section.data())
    symbols = elf.get_section_by_name(".symtab")
    for section in elf.iter_sections():
        if section["sh_type"] in ("SHT_REL", "SHT_RELA") and section["sh_info"] in digests:
            for entry in section.iter_relocations():
                target = symbols.get_symbol(entry["r_info_sym"])
                to = target.name or elf.get_section(target["st_shndx"]).name
                fact = f"{entry['r_offset']} {entry['r_info_type']} {to}\n"
                digests[section["sh_info"]].update(fact.encode())
    return {
        symbol.name: (symbol["st_size"], digests[symbol["st_shndx"]].hexdigest())
        for symbol in symbols.iter_symbols()
        if symbol["st_info"]["type"] == "STT_FUNC" and symbol["st_shndx"] in digests
    }


def _gcc(source: Source, *arguments: str | Path) -> str:
    cpu, flags = _BUILDS[source.cpu]
    include = (f"-I{source.tree / 'include'}", f"-I{source.folder}")
    command = ["arm-none-eabi-gcc", *arm_runner.machine(cpu), OPTIMIZE, "-std=c99", *flags]
    done = subprocess.run([*command, *include, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{source.path.name} for {source.cpu}: {done.stderr[:2000]}")
    return done.stdout
