"""Which compilers, C and C++ standards and flags build the generated code, and that it runs right.

    make compilers        # all of it: benchmarks/results/compilers.json and docs/compilers.md

A check compiles networks, the library and a program in C and C++ with every warning of `WARNINGS`
as an error, links them and runs the program, on this PC or on a virtual board. The program runs the
golden vectors of each network, which the integer reference computed, and prints hashes of what
other inputs give. All checks must print the same. What a compiler does not know is not counted.
"""

from __future__ import annotations

import argparse
import functools
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INCLUDE = ROOT / "include"
RESULTS = ROOT / "benchmarks" / "results" / "compilers.json"
PAGE = ROOT / "docs" / "compilers.md"
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "support")]

import arm_runner  # noqa: E402
from deepcompress.backend.atomic_write import atomic_write  # noqa: E402
from readme import paragraph, replace_part  # noqa: E402

NETWORKS = ("lenet", "residual", "activations", "gru", "towers", "huffman")
GOLDEN_VECTORS = 3

# Standards of C and C++ that are checked together, from the oldest that the library supports.
STANDARDS = (
    ("c99", "c++11"),
    ("gnu99", "gnu++11"),
    ("c11", "c++14"),
    ("gnu11", "gnu++14"),
    ("c17", "c++17"),
    ("gnu17", "gnu++17"),
    ("c2x", "c++20"),
    ("gnu2x", "gnu++2b"),
)
LEVELS = ("-O0", "-O1", "-Og", "-O2", "-O3", "-Os", "-Oz")
FLAGS = (
    "-flto",
    "-ffast-math",
    "-funsigned-char",
    "-fshort-enums",
    "-ffreestanding",
    "-fno-builtin",
    "-fno-strict-aliasing",
    "-fno-inline",
    "-fwrapv",
    "-fsanitize=address,undefined -fno-sanitize-recover=all",
)
LANGUAGE = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wsign-conversion", "-Wshadow")
BOTH = (
    *LANGUAGE,
    "-Wcast-align",
    "-Wcast-qual",
    "-Wundef",
    "-Wdouble-promotion",
    "-Wwrite-strings",
)
WARNINGS = {
    "c": (
        *BOTH,
        *("-Wstrict-prototypes", "-Wmissing-prototypes", "-Wredundant-decls", "-Wvla"),
    ),
    "c++": (
        *(*BOTH, "-Wold-style-cast", "-Weffc++", "-Wdeprecated"),
        *("-Wnon-virtual-dtor", "-Woverloaded-virtual"),
    ),
}
GCC_WARNINGS = {
    "c": ("-Wcast-align=strict", "-Wlogical-op", "-Wold-style-definition"),
    "c++": ("-Wcast-align=strict", "-Wuseless-cast", "-Wzero-as-null-pointer-constant"),
}

PASSED, FAILED, UNKNOWN = "yes", "no", "-"

MAIN = """\
#include <stdio.h>
{includes}

uint32_t number(uint32_t *state);
uint32_t add(uint32_t hash, const int8_t *scores, int count);
void sketch(void);

uint32_t number(uint32_t *state) {{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 16;
}}

uint32_t add(uint32_t hash, const int8_t *scores, int count) {{
    for (int i = 0; i < count; ++i) {{
        hash = (hash ^ (uint8_t)scores[i]) * 16777619u;
    }}
    return hash;
}}

int main(void) {{
{body}
    sketch();
    return 0;
}}
"""
IN_C = """\
    {{
        static {name}_arena arena;
{inputs}
        uint32_t state = 1, hash = 2166136261u;
{reset}
        for (int turn = 0; turn < 8; ++turn) {{
{fill}
            hash = add(hash, {name}_infer_float(&arena, {arguments}), {NAME}_{OUTPUT}_SIZE);
        }}
        const dc_status status = {name}_self_test(&arena);
        printf("{name}: self test %s, scores %08lx\\n", dc_status_text(status),
               (unsigned long)hash);
    }}
"""
SKETCH = """\
#include <DeepCompress.h>
#include <stdio.h>

extern "C" {{
uint32_t number(uint32_t *state);
uint32_t add(uint32_t hash, const int8_t *scores, int count);
void sketch(void);
}}

{body}

void sketch(void) {{
{calls}
}}
"""
IN_CPP = """\
static void run_{name}() {{
    typedef DeepCompress::{Name} Network;
    static Network network;
    static float input[Network::inputSize];
    uint32_t state = 1, hash = 2166136261u;
    network.reset();
    for (int turn = 0; turn < 8; ++turn) {{
        for (int i = 0; i < Network::inputSize; ++i) {{
            input[i] = static_cast<float>(number(&state) % 256) / 64.0f - 2.0f;
        }}
        const Network::Result result = network.infer(input);
        hash = add(hash, result.scores(), result.size());
    }}
    printf("{name} in C++: self test %s, scores %08lx\\n", dc_status_text(network.selfTest()),
           0ul + hash);
}}
"""


@dataclass(frozen=True)
class Compiler:
    """A C and a C++ compiler for one CPU.

    Attributes:
        name: as the table names it, such as "gcc 12.2".
        c, cpp: the commands with the flags that name the CPU.
        link: the command that links their objects.
        cpu: a key of `arm_runner.BOARDS`, or "host".
    """

    name: str
    c: tuple[str, ...]
    cpp: tuple[str, ...]
    link: tuple[str, ...]
    cpu: str = "host"

    @property
    def is_gcc(self) -> bool:
        return "clang" not in self.c[0]


@dataclass(frozen=True)
class Check:
    """One build and run.

    Attributes:
        option: what it adds to the compiler's command, such as "c99, c++11" or "-O3".
        why: the first error; empty if it passed.
    """

    compiler: str
    cpu: str
    option: str
    result: str
    why: str = ""


def main() -> int:
    parser = argparse.ArgumentParser(description="Builds and runs networks with every compiler.")
    parser.add_argument("--only", default="", help="a part of the compiler's name and CPU")
    only = parser.parse_args().only
    failed = False
    for checks in every_compiler(only):
        for check in checks:
            print(" ".join(asdict(check).values()), flush=True)
        failed |= any(check.result == FAILED for check in checks)
        write(checks)
    return failed


def every_compiler(only: str = "") -> Iterator[list[Check]]:
    """The checks of each compiler, with each standard, level and flag."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        expected = ""
        for compiler in compilers():
            if only.lower() not in f"{compiler.name} {compiler.cpu}".lower():
                continue
            sources = write_program(texts_for(compiler.cpu), folder / compiler.cpu)
            expected = expected or reference(folder)
            with ThreadPoolExecutor(2) as pool:
                check_one = functools.partial(check, compiler, sources=sources, expected=expected)
                yield list(pool.map(check_one, options()))


def reference(folder: Path) -> str:
    """What the program prints on this PC without optimisation, by the first compiler."""
    compiler = next(compilers())
    sources = write_program(texts_for(compiler.cpu), folder / compiler.cpu)
    return run(compiler, build(compiler, "-O0", sources, folder))


def write(checks: list[Check]) -> None:
    """Replaces the stored checks of a compiler, and writes the page."""
    stored = [Check(**row) for row in json.loads(RESULTS.read_text())] if RESULTS.exists() else []
    columns = {(check.compiler, check.cpu): None for check in [*stored, *checks]}
    fresh = {(check.compiler, check.cpu) for check in checks}
    kept = [check for check in stored if (check.compiler, check.cpu) not in fresh]
    order = list(columns)
    rows = sorted([*kept, *checks], key=lambda check: order.index((check.compiler, check.cpu)))
    RESULTS.write_text(json.dumps([asdict(check) for check in rows], indent=1) + "\n")
    replace_part("compilers", page_of(rows), page=PAGE)


def options() -> list[str]:
    return [*(f"{c}, {cpp}" for c, cpp in STANDARDS), *LEVELS, *FLAGS]


def compilers() -> Iterator[Compiler]:
    """The compilers of this PC: for the PC itself, and for Cortex-M."""
    clangs = []
    seen = set()
    for path in sorted({*commands(r"gcc(-\d+)?"), *commands(r"clang(-\d+)?")}, key=natural):
        version = version_of(path)
        family, _, suffix = path.partition("-")
        cpp = f"{'g++' if family == 'gcc' else 'clang++'}{suffix and '-' + suffix}"
        if (family, version) in seen or not shutil.which(cpp):
            continue
        seen.add((family, version))
        yield Compiler(f"{family} {version}", (path,), (cpp,), (cpp,))
        if family == "clang":
            clangs.append((path, cpp, version))
    if not shutil.which("arm-none-eabi-gcc"):
        return
    for cpu in ("cortex-m0plus", "cortex-m4", "cortex-m55"):
        machine = tuple(arm_runner.machine(cpu))
        gcc, cpp = "arm-none-eabi-gcc", "arm-none-eabi-g++"
        link = (gcc, *machine)  # as g++ would compile the board's start-up as C++
        name = f"gcc {version_of(gcc)}"
        yield Compiler(name, (gcc, *machine), (cpp, *machine), link, cpu)
        for c, cpp, version in clangs[:: max(1, len(clangs) - 1)]:  # the oldest and the newest
            flags = ("--target=arm-none-eabi", *machine, *newlib())
            yield Compiler(f"clang {version}", (c, *flags), (cpp, *flags), link, cpu)


def commands(pattern: str) -> list[str]:
    """The names on the PATH that match as a whole, without the folders."""
    names = Path("/usr/bin").iterdir()
    return [path.name for path in names if re.fullmatch(pattern, path.name)]


def natural(name: str) -> tuple[str, int]:
    """Sorts by version; a name without one is the last, so that a version is named exactly once."""
    family, _, version = name.partition("-")
    return family, int(version or 0)


def version_of(compiler: str) -> str:
    """Major and minor version, such as "12.2"."""
    said = subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout
    found = re.search(r"(\d+\.\d+)\.\d+", said)
    if not found:
        raise ValueError(f"{compiler} --version says {said!r}")
    return found[1]


@functools.cache
def newlib() -> tuple[str, ...]:
    """Where clang finds the headers of the C library that gcc uses."""
    command = ["arm-none-eabi-gcc", "-print-file-name=libc.a"]
    library = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    include = Path(library).resolve().parent.parent / "include"
    return ("-isystem", str(include))


@functools.cache
def texts_for(cpu: str) -> Mapping[str, str]:
    """The files of all networks, compiled for a CPU with golden vectors."""
    from golden.cases import Case
    from golden.generate import compile_alone
    from golden.networks import NETWORKS as ALL

    targets = {"host": "generic", "cortex-m0plus": "m0plus", "cortex-m4": "m4", "cortex-m55": "m55"}
    texts: dict[str, str] = {}
    for network in ALL:
        if network.name in NETWORKS:
            more = {**network.options, "self_test": GOLDEN_VECTORS}
            case = Case(network.name, targets[cpu], "balanced")
            texts |= compile_alone(replace(network, options=more), case)
    return texts


def write_program(texts: Mapping[str, str], folder: Path) -> list[Path]:
    """Writes networks and a program that runs all of them; returns the sources."""
    names = [name.removesuffix(".h") for name in texts if re.fullmatch(r"[a-z0-9]+\.h", name)]
    single = [name for name in names if f"{name.upper()}_INPUT_SIZE" in texts[f"{name}.h"]]
    models = "".join(f'#include "{name}.hpp"\n' for name in names)
    files = {
        **{name: text for name, text in texts.items() if not name.endswith(".json")},
        "DeepCompressModels.h": models,
        "main.c": MAIN.format(
            includes="".join(f'#include "{name}.h"\n' for name in names),
            body="".join(in_c(name, texts[f"{name}.h"]) for name in names),
        ),
        "sketch.cpp": SKETCH.format(
            body="\n".join(IN_CPP.format(name=name, Name=name.title()) for name in single),
            calls="".join(f"    run_{name}();\n" for name in single),
        ),
    }
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write(files, folder)
    own = [folder / name for name in sorted(files) if name.endswith((".c", ".cpp"))]
    return [*own, ROOT / "src" / "deepcompress.c"]


def in_c(name: str, header: str) -> str:
    """The part of main() that runs a network."""
    sizes = re.findall(rf"#define {name.upper()}_(\w+)_SIZE ", header)
    signature = re.search(rf"{name}_infer_float\({name}_arena \*arena, (.+)\);", header)
    assert signature is not None
    inputs = re.findall(r"\*(\w+)", signature[1])
    size = f"{name.upper()}_{{}}_SIZE".format
    fill = (
        f"            for (int i = 0; i < {size(x.upper())}; ++i) {{\n"
        f"                {x}[i] = (float)(number(&state) % 256) / 64.0f - 2.0f;\n            }}"
        for x in inputs
    )
    return IN_C.format(
        name=name,
        NAME=name.upper(),
        OUTPUT=next(end for end in sizes if end.lower() not in inputs),
        inputs="\n".join(f"        static float {x}[{size(x.upper())}];" for x in inputs),
        reset=f"        {name}_reset(&arena);" if f"{name}_reset(" in header else "",
        fill="\n".join(fill),
        arguments=", ".join(inputs),
    )


def check(compiler: Compiler, option: str, sources: Iterable[Path], expected: str = "") -> Check:
    """Builds the program of `write_program` with an option and runs it.

    Args:
        expected: what it must print; if empty, only the golden vectors must pass.
    """
    row = functools.partial(Check, compiler.name, compiler.cpu, option)
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        if not knows(compiler, option, here):
            return row(UNKNOWN)
        try:
            said = run(compiler, build(compiler, option, sources, here))
        except subprocess.CalledProcessError as error:
            return row(FAILED, first_error(error.stderr or error.stdout or str(error)))
    wrong = [line for line in said.splitlines() if "self test ok" not in line]
    if wrong or not said:
        return row(FAILED, wrong[0] if wrong else "it prints nothing")
    if expected and said != expected:
        pairs = zip(said.splitlines(), expected.splitlines(), strict=True)
        return row(
            FAILED, next(f"{line}, expected {other}" for line, other in pairs if line != other)
        )
    return row(PASSED)


def knows(compiler: Compiler, option: str, folder: Path) -> bool:
    """Whether the compiler builds an empty program with the option: it, or its linker, has it."""
    empty = [folder / "empty.c", folder / "empty.cpp"]
    empty[0].write_text("int main(void);\nint main(void) { return 0; }\n")
    empty[1].write_text("void f();\nvoid f() {}\n")
    try:
        build(compiler, option, empty, folder, warnings=False)
    except subprocess.CalledProcessError:
        return False
    return True


def build(
    compiler: Compiler, option: str, sources: Iterable[Path], folder: Path, *, warnings: bool = True
) -> Path:
    """The program; raises CalledProcessError with the compiler's message."""
    c, cpp, flags = meaning(option)
    commands = {"c": [*compiler.c, f"-std={c}"], "c++": [*compiler.cpp, f"-std={cpp}"]}
    objects: list[Path] = []
    for source in sources:
        language = "c++" if source.suffix == ".cpp" else "c"
        command = [*commands[language], *flags, "-Werror"]
        if warnings:
            command += [*WARNINGS[language], *(GCC_WARNINGS[language] if compiler.is_gcc else ())]
        objects.append(folder / f"{source.stem}.{language}.o")
        include = (f"-I{INCLUDE}", f"-I{source.parent}")
        execute([*command, *include, "-c", source, "-o", objects[-1]])
    program = folder / "program"
    start: list[str | Path] = []
    if compiler.cpu != "host":
        start = [*arm_runner.start_files(compiler.cpu, folder), "-lsupc++"]
    # gcc links what clang compiled for Cortex-M.
    linked = [flag for flag in flags if compiler.is_gcc or compiler.cpu == "host"]
    execute([*compiler.link, *linked, *objects, *start, "-o", program])
    return program


def meaning(option: str) -> tuple[str, str, list[str]]:
    """The standards of C and C++, and the flags, of a row of the table."""
    if not option.startswith("-"):
        c, cpp = option.split(", ")
        return c, cpp, ["-O2"]
    flags = option.split()
    return "c99", "c++11", flags if flags[-1] in LEVELS else ["-O2", *flags]


def run(compiler: Compiler, program: Path) -> str:
    """What the program prints, on this PC or in QEMU."""
    if compiler.cpu == "host":
        return execute([program])
    machine = arm_runner.board(compiler.cpu)["qemu_machine"]
    return execute(
        [sys.executable, arm_runner.PLATFORM / "misc" / "run.py", "120", machine, program]
    )


def execute(command: Iterable[str | Path]) -> str:
    done = subprocess.run(list(command), capture_output=True, text=True)
    done.check_returncode()
    return done.stdout


def first_error(said: str) -> str:
    """The first line with an error, without the folder of its file."""
    lines = said.splitlines()
    line = next((line for line in lines if "error" in line), lines[0] if lines else "no message")
    return re.sub(r"^/\S*/", "", line)[:300]


def page_of(checks: Iterable[Check]) -> str:
    """The tables of docs/compilers.md: one per CPU, with a column per compiler."""
    rows = list(checks)
    parts = [summary(rows)]
    for cpu in sorted({row.cpu for row in rows}, key=("host", *arm_runner.BOARDS).index):
        title = "This PC (x86-64)" if cpu == "host" else cpu
        parts += [f"### {title}", table([row for row in rows if row.cpu == cpu])]
    failed = [row for row in rows if row.result == FAILED]
    lines = [f"- {row.compiler}, {row.cpu}, `{row.option}`: {row.why}" for row in failed]
    return "\n\n".join([*parts, *(["Failures:", "\n".join(lines)] if lines else [])])


def summary(checks: list[Check]) -> str:
    tried = [check for check in checks if check.result != UNKNOWN]
    passed = sum(check.result == PASSED for check in tried)
    names = dict.fromkeys(check.compiler for check in checks)
    return paragraph(
        f"{passed:,} of {len(tried):,} builds compile without a warning and give the scores of the "
        f"integer reference, with {len(names)} compilers: {', '.join(names)}. "
        f"{len(checks) - len(tried)} more are not counted, because the compiler or its linker does "
        "not have the standard or the flag (-)."
    )


def table(checks: list[Check]) -> str:
    columns = list(dict.fromkeys(check.compiler for check in checks))
    found = {(check.compiler, check.option): check.result for check in checks}
    lines = [f"| | {' | '.join(columns)} |", f"| --- |{' :---: |' * len(columns)}"]
    for option in dict.fromkeys(check.option for check in checks):
        cells = (found[column, option] for column in columns)
        lines.append(f"| `{option}` | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
