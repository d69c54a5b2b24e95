"""Where the LeNet-5 example builds and runs: board by framework, with flash and RAM.

    make boards         # builds all of it, writes benchmarks/results/boards.json and docs/boards.md

Flash and RAM are those of the whole firmware, including eleven images of 1 KB. For builds that are
not possible on this machine, the table shows the reason; they count as neither success nor failure.
PlatformIO's packages for real boards come from its registry; $ZEPHYR_BASE names a Zephyr tree;
$PLATFORMIO_CORE_DIR may name another folder of packages than this checkout's.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "lenet5_mnist"
RESULTS = ROOT / "benchmarks" / "results" / "boards.json"
PAGE = ROOT / "docs" / "boards.md"
sys.path.insert(0, str(EXAMPLE))

import bare_boards  # noqa: E402
import evaluate  # noqa: E402
from deepcompress.backend.atomic_write import atomic_write  # noqa: E402
from deepcompress.compile import compile_model  # noqa: E402
from deepcompress.options import Target, parse  # noqa: E402
from readme import replace_part  # noqa: E402

IMAGES = 20  # run on each virtual board
REAL = [board.name for board in bare_boards.BOARDS]
VIRTUAL = [f"virtual_{cpu}" for cpu in ("m0", "m3", "m4", "m7", "m33", "m55", "stm32f405")]

# PlatformIO's environment -> board and framework.
PLATFORMIO = {
    **{name: (name, "none") for name in VIRTUAL},
    **{name: (name, "Arduino") for name in REAL},
    "nucleo_f446re_cube": ("nucleo_f446re", "STM32Cube"),
    "nucleo_f446re_cmsis": ("nucleo_f446re", "CMSIS"),
    "nucleo_f446re_mbed": ("nucleo_f446re", "mbed"),
    "bluepill_f103c8_cube": ("bluepill_f103c8", "STM32Cube"),
    "bluepill_f103c8_cmsis": ("bluepill_f103c8", "CMSIS"),
}
# Board -> its names in Zephyr: since 3.7, and before if it had another.
ZEPHYR = {
    "nucleo_f446re": ("nucleo_f446re",),
    "bluepill_f103c8": ("stm32_min_dev@blue", "stm32_min_dev_blue"),
    "nucleo_l432kc": ("nucleo_l432kc",),
    "nucleo_h743zi": ("nucleo_h743zi",),
    "nucleo_g071rb": ("nucleo_g071rb",),
    "nrf52_dk": ("nrf52dk/nrf52832", "nrf52dk_nrf52832"),
    "nrf52840_dk": ("nrf52840dk/nrf52840", "nrf52840dk_nrf52840"),
    "qemu_cortex_m3": ("qemu_cortex_m3",),
    "mps2_an385": ("mps2/an385", "mps2_an385"),
}
FRAMEWORKS = ("none", "Arduino", "STM32Cube", "CMSIS", "mbed", "Zephyr")
# Messages of a package manager without a network.
UNREACHABLE = r"HTTPClientError|InternetConnectionError|UnknownPackageError|Could not find the pack"

BUILDS, RUNS, FAILS, ABSENT = "builds", "runs, scores as the reference", "FAILS", "not built here"


class NotHere(Exception):
    """This machine lacks something that the build needs; the text names it."""


class Failed(Exception):
    """The build failed; the text is the end of its output."""


@dataclass(frozen=True)
class Use:
    """Flash and RAM of a whole firmware and of its board, in bytes."""

    flash: int
    flash_limit: int
    ram: int
    ram_limit: int


@dataclass(frozen=True)
class Cell:
    """A board with a framework; `why` is the reason if it does not build."""

    board: str
    framework: str
    result: str
    use: Use | None = None
    why: str = ""


def main() -> int:
    parser = argparse.ArgumentParser(description="Builds the LeNet-5 example for every board.")
    parser.add_argument("--only", default="", help="a part of the name of the board or framework")
    only = parser.parse_args().only
    cells = []
    for cell in every_cell(only):
        print(line(cell), flush=True)
        cells.append(cell)
    if not only:
        rows = [asdict(cell) for cell in cells]
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
        replace_part("boards", table(cells), page=PAGE)
    return any(cell.result == FAILS for cell in cells)


def every_cell(only: str) -> Iterator[Cell]:
    """Builds each requested board and framework."""
    builds = [
        *((*where, lambda env=env: build_platformio(env)) for env, where in PLATFORMIO.items()),
        *((b.name, "none", lambda b=b: build_bare(b)) for b in bare_boards.BOARDS),
        *((name, "Zephyr", lambda z=z: build_zephyr(z)) for name, z in ZEPHYR.items()),
    ]
    for board, framework, build in builds:
        if only.lower() not in f"{board} {framework}".lower():
            continue
        try:
            result, use = build()
            yield Cell(board, framework, result, use)
        except NotHere as why:
            yield Cell(board, framework, ABSENT, why=str(why))
        except (Failed, bare_boards.BuildFailed) as why:
            yield Cell(board, framework, FAILS, why=str(why))


def build_platformio(environment: str) -> tuple[str, Use]:
    """Builds an environment of the example; a virtual board also runs some images."""
    core = os.environ.get("PLATFORMIO_CORE_DIR", str(ROOT / ".tools" / "platformio"))
    command = [sys.executable, "-m", "platformio", "run", "-d", EXAMPLE, "-e", environment]
    done = subprocess.run(
        command,
        env={**os.environ, "PLATFORMIO_CORE_DIR": core, "DEEPCOMPRESS_PYTHON": sys.executable},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    said = done.stdout + done.stderr
    if done.returncode and re.search(UNREACHABLE, said):
        raise NotHere("needs packages of PlatformIO's registry, which is not reachable")
    if done.returncode:
        raise Failed(said[-500:])
    if environment in VIRTUAL:
        return run_images(environment), use_of_virtual(environment)
    flash = two_numbers(r"Flash: .*used (\d+) bytes from (\d+)", said)
    return BUILDS, Use(*flash, *two_numbers(r"RAM: .*used (\d+) bytes from (\d+)", said))


def use_of_virtual(environment: str) -> Use:
    manifest = ROOT / "platforms" / "virtual" / "boards" / f"{environment}.json"
    limits = json.loads(manifest.read_text())["upload"]
    flash, ram = sizes_of(EXAMPLE / ".pio" / "build" / environment / "firmware.elf")
    return Use(flash, limits["maximum_size"], ram, limits["maximum_ram_size"])


def sizes_of(elf: Path) -> tuple[int, int]:
    """Bytes of flash and of RAM, without stack and heap."""
    said = subprocess.run(["arm-none-eabi-size", elf], capture_output=True, text=True).stdout
    text, data, bss = map(int, said.splitlines()[1].split()[:3])
    return text + data, data + bss


def run_images(environment: str) -> str:
    images = evaluate.test_set()[0][:IMAGES]
    scores = evaluate.firmware_scores(environment, images)
    if (scores != evaluate.reference_scores(images)).any():
        raise Failed("its scores differ from the reference")
    return RUNS


def build_bare(board: bare_boards.Board) -> tuple[str, Use]:
    """Builds the example's network and bare.cpp with the board's flags, without a framework."""
    options = evaluate.compiler_options() | evaluate.compiler_options(f"env:{board.name}")
    model = Path(options.pop("model"))
    target = Target(board.core, board.flash, board.ram)
    compiled = compile_model(
        model, name="lenet5", options=parse(options, where="boards.py", target=target)
    )
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        umbrella = {"DeepCompressModels.h": '#include "lenet5.hpp"\n'}
        atomic_write({**compiled.texts, **umbrella}, here)
        elf = bare_boards.build(board, [here / "lenet5.c", EXAMPLE / "src" / "bare.cpp"], here)
        flash, ram = sizes_of(elf)
    return BUILDS, Use(flash, board.flash, ram, board.ram)


def build_zephyr(names: tuple[str, ...]) -> tuple[str, Use]:
    """Builds the module's sample for a row of `ZEPHYR` with the tree in $ZEPHYR_BASE."""
    if not os.environ.get("ZEPHYR_BASE"):
        raise NotHere("needs a Zephyr tree in $ZEPHYR_BASE")
    since_3_7 = (Path(os.environ["ZEPHYR_BASE"]) / "boards" / "native").is_dir()
    board = names[0 if since_3_7 else -1]
    sample = ROOT / "zephyr" / "samples" / "lenet5"
    modules = [f"-D{name}={ROOT}" for name in ("EXTRA_ZEPHYR_MODULES", "ZEPHYR_EXTRA_MODULES")]
    environment = {**os.environ, "DEEPCOMPRESS_PYTHON": sys.executable}
    said = ""
    with tempfile.TemporaryDirectory() as folder:
        configure = ["cmake", "-GNinja", "-S", sample, "-B", folder, f"-DBOARD={board}", *modules]
        for command in (configure, ["cmake", "--build", folder]):
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            said += done.stdout + done.stderr
            if done.returncode:
                raise Failed(said[-500:])
    return BUILDS, Use(*region_of("FLASH", said), *region_of("RAM", said))


def two_numbers(pattern: str, said: str) -> tuple[int, int]:
    found = re.search(pattern, said)
    if found is None:
        raise Failed(f"the build did not say how much it takes: {said[-200:]}")
    return int(found[1]), int(found[2])


def region_of(region: str, said: str) -> tuple[int, int]:
    """Used and total bytes of a memory region, from the linker's `FLASH: 55934 B  512 KB`."""
    found = re.search(rf"{region}: +(\d+) (\w+) +(\d+) (\w+)", said)
    if found is None:
        raise Failed(f"the build did not say how much {region} it takes")
    unit = {"B": 1, "KB": 1 << 10, "MB": 1 << 20}
    return int(found[1]) * unit[found[2]], int(found[3]) * unit[found[4]]


def line(cell: Cell) -> str:
    """One line of the terminal's output."""
    memory = ""
    if cell.use:
        memory = (
            f"flash {cell.use.flash:>7,} of {cell.use.flash_limit:>9,}   "
            f"RAM {cell.use.ram:>6,} of {cell.use.ram_limit:>9,}   "
        )
    return f"{cell.board:<20}{cell.framework:<11}{memory}{cell.result}  {cell.why}".rstrip()


def table(cells: list[Cell]) -> str:
    """One row per board, one column per framework: flash / RAM, or the reason why not."""
    at = {(cell.board, cell.framework): cell for cell in cells}
    rows = [["board", *FRAMEWORKS], ["---"] + len(FRAMEWORKS) * ["---:"]]
    for board in dict.fromkeys(cell.board for cell in cells):
        of_board = [cell for cell in cells if cell.board == board and cell.use]
        limits = f" ({kilobytes(of_board[0].use)})" if of_board else ""
        rows.append([board + limits, *(in_table(at.get((board, f))) for f in FRAMEWORKS)])
    missing = sorted({f"{cell.framework}: {cell.why}" for cell in cells if cell.result == ABSENT})
    note = (
        "Bytes of flash / RAM of the whole firmware, of which 11,300 bytes are images; in "
        "brackets, the board's KB. The virtual boards also ran, and their scores equal the "
        "reference's. Empty cells were not tried."
    )
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, "", note, *(f"Not built here: {why}." for why in missing)])


def in_table(cell: Cell | None) -> str:
    if cell is None:
        return ""
    return f"{cell.use.flash:,} / {cell.use.ram:,}" if cell.use else cell.result


def kilobytes(use: Use) -> str:
    return f"{use.flash_limit >> 10:,} / {use.ram_limit >> 10:,}"


if __name__ == "__main__":
    sys.exit(main())
