"""Firmware for real boards without a framework: each board's own compiler flags and memory.

The flags are those that PlatformIO's ststm32 19.6 and nordicnrf52 10.11 use for C and C++ with
Arduino, as printed by `pio run -v`. The start-up code is that of the virtual boards, which needs no
vendor's code.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from deepcompress.target.boards import KNOWN

ROOT = Path(__file__).resolve().parent.parent
START_UP = ROOT / "platforms" / "virtual" / "misc"

M0PLUS = "-mcpu=cortex-m0plus -mthumb"
M3 = "-mcpu=cortex-m3 -mthumb"
M4 = "-mcpu=cortex-m4 -mthumb -mfpu=fpv4-sp-d16 -mfloat-abi=hard"
NRF52 = "-mcpu=cortex-m4 -mthumb -mfloat-abi=softfp -mfpu=fpv4-sp-d16"
M7 = "-mcpu=cortex-m7 -mthumb -mfpu=fpv4-sp-d16 -mfloat-abi=hard"

COMMON = [
    "-ffunction-sections",
    "-fdata-sections",
    "-nostdlib",
    "--param",
    "max-inline-insns-single=500",
]
CPP = ["-fno-threadsafe-statics", "-fno-rtti", "-fno-exceptions", "-fno-use-cxa-atexit"]
LINK = ["-Wl,--gc-sections,--relax", "-Wl,--check-sections", "-Wl,--warn-common", "-nostartfiles"]
NANO = ["--specs=nano.specs", "--specs=rdimon.specs"]


@dataclass(frozen=True)
class Board:
    """The compiler flags and the memory of a board, in bytes."""

    name: str
    machine: str
    flash: int
    ram: int
    flash_origin: int = 0x08000000
    ram_origin: int = 0x20000000
    c: str = "gnu17"
    cpp: str = "gnu++17"

    @property
    def core(self) -> str:
        """The core's name in gcc, such as cortex-m4."""
        return self.machine.split()[0].removeprefix("-mcpu=")


def _board(name: str, machine: str, **rest: int | str) -> Board:
    """A board whose memory sizes are in the compiler's table."""
    target = KNOWN[name]
    return Board(name, machine, target.flash_limit, target.ram_limit, **rest)


NRF5 = {"flash_origin": 0, "c": "gnu11", "cpp": "gnu++11"}
BOARDS = (
    _board("nucleo_f446re", M4),
    _board("bluepill_f103c8", M3),
    _board("nucleo_l432kc", M4),
    _board("nucleo_h743zi", M7, ram_origin=0x24000000),
    _board("nucleo_g071rb", M0PLUS),
    _board("nrf52_dk", NRF52, **NRF5),
    _board("nrf52840_dk", NRF52, **NRF5),
)


class BuildFailed(Exception):
    """The compiler or the linker failed; the text is its output."""


def build(
    board: Board, sources: Iterable[Path], folder: Path, *, flags: Iterable[str] = ("-Os",)
) -> Path:
    """Links C and C++ sources with a main() to `folder`/firmware.elf.

    Args:
        flags: for both languages and the linker, after the board's own.

    Raises:
        BuildFailed: also if it does not fit the board's flash or RAM.
    """
    library = ROOT / "src" / "deepcompress.c"
    objects = [compile_one(board, source, folder, flags) for source in [*sources, library]]
    objects.append(compile_one(board, START_UP / "startup.c", folder, ["-Os", "-std=gnu99"]))
    script = folder / "link.ld"
    script.write_text(linker_script(board))
    elf = folder / "firmware.elf"
    machine = [*board.machine.split(), *flags]
    run(["arm-none-eabi-g++", *machine, *LINK, *NANO, "-T", script, *objects, "-o", elf])
    return elf


def compile_one(board: Board, source: Path, folder: Path, flags: Iterable[str]) -> Path:
    """Compiles to an object file in the folder, which may contain headers."""
    cpp = source.suffix == ".cpp"
    tool, language = ("g++", [f"-std={board.cpp}", *CPP]) if cpp else ("gcc", [f"-std={board.c}"])
    made = folder / f"{source.name}.o"
    includes = [f"-I{folder}", f"-I{ROOT / 'include'}"]
    command = [f"arm-none-eabi-{tool}", *board.machine.split(), *language, *COMMON, *NANO]
    run([*command, *flags, *includes, "-c", source, "-o", made])
    return made


def linker_script(board: Board) -> str:
    """The linker script of the virtual boards, with this board's memory."""
    text = (START_UP / "link.ld.in").read_text(encoding="utf-8")
    for name in ("flash_origin", "ram_origin"):
        text = text.replace(f"@{name}@", hex(getattr(board, name)))
    for name in ("flash", "ram"):
        text = text.replace(f"@{name}_size@", str(getattr(board, name)))
    return text


def run(command: list) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise BuildFailed(done.stderr)
