"""Flips single bits of a model's constants or code, one at a time, and runs its self test."""

from __future__ import annotations

import io
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import arm_runner
import c_runner
import numpy as np
from deepcompress.backend.atomic_write import atomic_write
from deepcompress.errors import UserError
from deepcompress.profiler.engine import Request
from deepcompress.profiler.profile import profile
from elftools.elf.elffile import ELFFile

STAGES = ("none", "constants", "layer", "vectors")
CRASHED = "crashed"

# Makes the page of each array writable. Each line of the input is an array, a byte and a mask; each
# line of the output is the stage that failed and the layer.
_MAIN_ON_PC = """\
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "{name}.c"

static const struct {{
    const void *at;
    size_t size;
}} arrays[] = {{
{arrays}
}};

static {name}_arena arena;

int main(void) {{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; ++i) {{
        const uintptr_t begin = (uintptr_t)arrays[i].at / page * page;
        const size_t size = (uintptr_t)arrays[i].at + arrays[i].size - begin;
        if (mprotect((void *)begin, size, PROT_READ | PROT_WRITE) != 0) {{
            return 1;
        }}
    }}
    unsigned array, byte, mask;
    while (scanf("%u %u %u", &array, &byte, &mask) == 3) {{
        volatile uint8_t *const at = (volatile uint8_t *)(uintptr_t)arrays[array].at + byte;
        *at = (uint8_t)(*at ^ mask);
        const dc_self_test_result result = {name}_self_test_result(&arena);
        printf("%d %d\\n", (int)result.stage, result.layer);
        fflush(stdout);
        *at = (uint8_t)(*at ^ mask);
    }}
    return 0;
}}
"""

_MAIN_ON_ARM = """\
#include "{name}.h"

#include <unistd.h>

static {name}_arena arena;

int main(void) {{
    const dc_self_test_result result = {name}_self_test_result(&arena);
    const int8_t bytes[2] = {{ (int8_t)result.stage, (int8_t)result.layer }};
    return write(STDOUT_FILENO, bytes, sizeof bytes) != sizeof bytes;
}}
"""


@dataclass(frozen=True)
class Outcome:
    """What the self test found after one flip.

    Attributes:
        where: the array or function in which the bit is.
        stage: one of `STAGES`, or `CRASHED` if the program died or did not end.
        layer: the index of the layer that differs, or -1.
    """

    where: str
    stage: str
    layer: int


def arrays_of(texts: Mapping[str, str], name: str) -> dict[str, int]:
    """The constant arrays of a generated model and of the headers that it includes: name -> bytes.

    Arrays of texts, the labels and names of layers, do not count.
    """
    sources = [texts[f"{name}_weights.h"], texts[f"{name}.c"]]
    included = re.findall(r'#include "(deepcompress/kernels/\w+\.h)"', texts[f"{name}.c"])
    sources += [(c_runner.INCLUDE / header).read_text() for header in _with_includes(included)]
    found = re.findall(r"static const (u?int(\d+)_t) (\w+)\[([\d *]+)\] = ", "\n".join(sources))
    return {
        array: int(bits) // 8 * int(np.prod([int(factor) for factor in size.split("*")]))
        for _, bits, array, size in found
    }


def _with_includes(headers: Sequence[str]) -> list[str]:
    """Headers and the headers of the same folder that they include."""
    found: list[str] = []
    for header in headers:
        if header not in found:
            text = (c_runner.INCLUDE / header).read_text()
            local = re.findall(r'#include "(\w+\.h)"', text)
            folder = header.rpartition("/")[0]
            found += [header, *_with_includes([f"{folder}/{file}" for file in local])]
    return list(dict.fromkeys(found))


def flip_on_pc(
    texts: Mapping[str, str], name: str, *, folder: Path, count: int, seed: int = 0
) -> list[Outcome]:
    """Flips random bits of the constant arrays in the memory of a process, under sanitizers."""
    arrays = arrays_of(texts, name)
    rows = "\n".join(f"    {{{array}, sizeof {array}}}," for array in arrays)
    main = _MAIN_ON_PC.format(name=name, arrays=rows)
    atomic_write({**texts, "flips.c": main}, folder)
    program = folder / "flips"
    sources = [folder / "flips.c", c_runner.ROOT / "src" / "deepcompress.c"]
    flags = ["-std=gnu99", "-O1", *c_runner.SANITIZERS, *c_runner.KERNELS["dsp"]]
    include = [f"-I{c_runner.INCLUDE}", f"-I{folder}"]
    command = ["gcc", *flags, *include, *sources, "-o", program]
    subprocess.run(command, check=True)
    flips = list(_random_bits(list(arrays.values()), count, seed))
    outcomes: list[Outcome] = []
    while len(outcomes) < count:
        left = flips[len(outcomes) :]
        lines = "".join(f"{array} {byte} {mask}\n" for array, byte, mask in left)
        done = subprocess.run([program], input=lines, capture_output=True, text=True)
        results = [*map(str.split, done.stdout.splitlines())]
        names = [list(arrays)[array] for array, _, _ in left]
        outcomes += [
            Outcome(where, STAGES[int(stage)], int(layer))
            for where, (stage, layer) in zip(names, results, strict=False)
        ]
        if done.returncode:
            outcomes.append(Outcome(names[len(results)], CRASHED, -1))
    return outcomes


def _random_bits(sizes: Sequence[int], count: int, seed: int) -> Iterator[tuple[int, int, int]]:
    """Region, byte and mask of random bits; each bit is as likely as any other."""
    random = np.random.default_rng(seed)
    ends = np.cumsum(sizes)
    for bit in random.integers(0, 8 * int(ends[-1]), count):
        region = int(np.searchsorted(ends, bit // 8, side="right"))
        yield region, int(bit // 8 - (ends[region] - sizes[region])), 1 << int(bit % 8)


@dataclass(frozen=True)
class Region:
    """Bytes of an ELF file: a constant or a function."""

    name: str
    offset: int
    size: int


def build_for_arm(
    texts: Mapping[str, str], name: str, *, folder: Path, cpu: str = "cortex-m4"
) -> Path:
    """The firmware that runs the self test once."""
    atomic_write({**texts, "main.c": _MAIN_ON_ARM.format(name=name)}, folder)
    sources = [folder / f"{name}.c", folder / "main.c", c_runner.ROOT / "src" / "deepcompress.c"]
    flags = ("-O2", f"-I{c_runner.INCLUDE}", f"-I{folder}")
    return arm_runner.link(sources, folder=folder, cpu=cpu, flags=flags)


def regions(elf: Path, source: str) -> tuple[list[Region], list[Region]]:
    """The constants and the functions of one source file in a firmware's flash."""
    constants, functions = [], []
    with elf.open("rb") as file:
        image = ELFFile(file)
        text = image.get_section_by_name(".text")
        inside = False
        for symbol in image.get_section_by_name(".symtab").iter_symbols():
            kind, size = symbol["st_info"]["type"], symbol["st_size"]
            if kind == "STT_FILE":
                inside = symbol.name == source
            elif inside and size and kind in ("STT_OBJECT", "STT_FUNC"):
                address = symbol["st_value"] & ~1 if kind == "STT_FUNC" else symbol["st_value"]
                offset = address - text["sh_addr"] + text["sh_offset"]
                if text["sh_addr"] <= address < text["sh_addr"] + text["sh_size"]:
                    into = functions if kind == "STT_FUNC" else constants
                    into.append(Region(symbol.name, offset, size))
    return constants, functions


def flip_on_arm(
    elf: Path, where: Sequence[Region], *, count: int, cpu: str = "cortex-m4", seed: int = 0
) -> Iterator[Outcome]:
    """Flips random bits of these regions in the flash of a simulated core."""
    image = bytearray(elf.read_bytes())
    limit = 10 * _instructions(elf, cpu)
    damaged = elf.with_suffix(".damaged")
    for region, byte, mask in _random_bits([r.size for r in where], count, seed):
        at = where[region].offset + byte
        image[at] ^= mask
        damaged.write_bytes(image)
        image[at] ^= mask
        yield _outcome(damaged, where[region].name, cpu, limit)


def _instructions(elf: Path, cpu: str) -> int:
    """Instructions of the run without damage."""
    done = profile(elf, Request(cpu=cpu, function="main"))
    return done.inferences[0].instructions


def _outcome(elf: Path, where: str, cpu: str, limit: int) -> Outcome:
    console = io.BytesIO()
    try:
        profile(elf, Request(cpu=cpu, console=console, function="main", instruction_limit=limit))
    except UserError:
        return Outcome(where, CRASHED, -1)
    if len(console.getvalue()) != 2:
        return Outcome(where, CRASHED, -1)
    stage, layer = np.frombuffer(console.getvalue(), np.int8).tolist()
    return Outcome(where, STAGES[stage], layer)
