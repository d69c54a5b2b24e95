"""Runs a firmware's ELF instruction by instruction and counts what its inferences cost.

The real firmware, from its reset vector, in unicorn: start-up, main, files and console by
semihosting. Every call of a model's `infer` and of its layers is counted in instructions and in
modelled cycles (`cpus/`, from Arm's manuals), with the stack that it needs. The model is of the
core alone: no flash wait states unless asked for, no bus contention, no interrupts.
"""

from __future__ import annotations

import argparse
import bisect
import io
import json
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepcompress.cpus import CPUS, Cpu, find
from deepcompress.errors import UserError
from deepcompress.report import columns
from deepcompress.semihosting import Exited, Semihosting

INSTRUCTION_LIMIT = 4_000_000_000
_INFER = re.compile(r"(\w+)_infer_(?:int8|uint8|float)$")
_REGION = 16 << 20
_SYSTEM = 0xE0000000
_CPACR = 0xE000ED88
_CPU_OF_ARCHITECTURE = {"v6S-M": "cortex-m0", "v6-M": "cortex-m0", "v7-M": "cortex-m3"}


@dataclass
class Cost:
    """What calls of one function cost, with all that they call."""

    calls: int = 0
    instructions: int = 0
    cycles: int = 0
    stack_bytes: int = 0
    code_bytes: int = 0


@dataclass(frozen=True)
class Profile:
    """Attributes: `costs` by function: a model's `infer` functions and its layers."""

    cpu: str
    exit_code: int
    costs: dict[str, Cost]
    printed: str = ""


@dataclass(frozen=True)
class _Symbol:
    address: int
    size: int
    name: str


@dataclass(frozen=True)
class _Image:
    """An ELF: bytes to load at addresses, and its functions in order of address."""

    segments: tuple[tuple[int, bytes, int], ...]
    functions: tuple[_Symbol, ...]
    symbols: dict[str, int]
    cpu: str | None


@dataclass
class _Frame:
    """A call that is under way."""

    function: str
    returns_to: int
    stack_pointer: int
    instructions: int
    cycles: int
    lowest: int


def profile(elf: Path, *, cpu: str | None = None, folder: Path | None = None) -> Profile:
    """Runs a firmware to its end.

    Args:
        elf: linked with newlib's semihosting, ending by exit() or a return from main().
        cpu: such as "cortex-m4"; by default what the ELF says.
        folder: where the firmware opens its files; by default the current one.

    Raises:
        UserError: not such an ELF, or it does not end, or unicorn is not installed.
    """
    _check_packages()
    image = _read_elf(elf)
    core = find(cpu or image.cpu or "cortex-m4")
    if core.timing is None:
        timed = ", ".join(name for name, c in CPUS.items() if c.timing)
        raise UserError(
            f"there is no timing of {core.name}", f"firmware {elf}", f"Timed are {timed}"
        )
    return _Machine(image, core, folder or Path.cwd(), elf).run()


def _check_packages() -> None:
    try:
        import capstone  # noqa: F401
        import elftools  # noqa: F401
        import unicorn  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"the package {error.name} is not installed",
            "deepcompress profile",
            "Install them: pip install unicorn capstone pyelftools",
        ) from None


def _read_elf(path: Path) -> _Image:
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        with path.open("rb") as file:
            elf = ELFFile(file)
            if elf["e_machine"] != "EM_ARM":
                raise UserError("it is not for Arm", f"firmware {path}", "Name the firmware.elf")
            return _image_of(elf, path)
    except (OSError, ELFError) as error:
        raise UserError(
            f"it cannot be read as an ELF ({error})",
            f"firmware {path}",
            "Name the firmware.elf below .pio/build",
        ) from None


def _image_of(elf: Any, path: Path) -> _Image:
    segments = tuple(
        (segment["p_paddr"], segment.data(), segment["p_vaddr"])
        for segment in elf.iter_segments()
        if segment["p_type"] == "PT_LOAD" and segment["p_filesz"]
    )
    table = elf.get_section_by_name(".symtab")
    if table is None:
        raise UserError("it has no symbols", f"firmware {path}", "Do not strip it")
    entries = [
        (s["st_value"], s["st_size"], s["st_info"]["type"], s.name) for s in table.iter_symbols()
    ]
    functions = sorted(
        {_Symbol(v & ~1, size, name) for v, size, kind, name in entries if kind == "STT_FUNC"},
        key=lambda symbol: symbol.address,
    )
    symbols = {name: value for value, _, _, name in entries}
    return _Image(segments, tuple(functions), symbols, _cpu_of(elf))


def _cpu_of(elf: Any) -> str | None:
    """The core that the compiler was told, from the build attributes."""
    section = elf.get_section_by_name(".ARM.attributes")
    if section is None:
        return None
    names = {
        attribute.tag: attribute.value
        for part in section.iter_subsections()
        for block in part.iter_subsubsections()
        for attribute in block.iter_attributes()
    }
    name = str(names.get("TAG_CPU_NAME", "")).lower()
    return name if name in CPUS else _CPU_OF_ARCHITECTURE.get(name)


class _Machine:
    """A core, its memory, and the counters."""

    def __init__(self, image: _Image, core: Cpu, folder: Path, elf: Path) -> None:
        import unicorn
        import unicorn.arm_const as arm

        self.arm, self.unicorn, self.core, self.image, self.elf = arm, unicorn, core, image, elf
        self.uc = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
        self.uc.ctl_set_cpu_model(getattr(arm, f"UC_CPU_ARM_{core.model}"))
        self.disassembler = _disassembler()
        self.starts = [symbol.address for symbol in image.functions]
        self.tracked = _tracked(image)
        self.blocks: dict[tuple[int, int], tuple[int, int]] = {}
        self.frames: list[_Frame] = []
        self.costs: dict[str, Cost] = defaultdict(Cost)
        self.instructions = self.cycles = 0
        self.block_end: int | None = None
        self.ended: Exception | None = None
        self.console = io.BytesIO()
        self.semihosting = Semihosting(self, folder=folder, heap=self._load(), console=self.console)

    def _load(self) -> tuple[int, int]:
        """Memory around the segments and the stack; returns where the heap may lie."""
        flash = min(address for address, _, _ in self.image.segments)
        self.vectors = flash
        content = next(data for address, data, _ in self.image.segments if address == flash)
        stack = int.from_bytes(content[:4], "little")
        regions = {address & -_REGION for address in (flash, stack - 1)}
        for region in regions:
            self.uc.mem_map(region, _REGION)
        self.uc.mem_map(_SYSTEM, 1 << 20)
        for address, data, _ in self.image.segments:
            self.uc.mem_write(address, data)
        return self.image.symbols.get("end", 0), stack

    def read(self, address: int, size: int) -> bytes:
        return bytes(self.uc.mem_read(address, size)) if size else b""

    def write(self, address: int, data: bytes) -> None:
        if data:
            self.uc.mem_write(address, data)

    def run(self) -> Profile:
        u, arm = self.unicorn, self.arm
        self.uc.hook_add(u.UC_HOOK_BLOCK, self._on_block)
        self.uc.hook_add(u.UC_HOOK_INTR, self._on_interrupt)
        stack, reset = (int.from_bytes(self.read(self.vectors + i, 4), "little") for i in (0, 4))
        self.uc.reg_write(arm.UC_ARM_REG_SP, stack)
        self.write(_CPACR, (0xF << 20).to_bytes(4, "little"))
        self.uc.reg_write(arm.UC_ARM_REG_FPEXC, 0x40000000)
        address = reset | 1
        while self.ended is None:
            try:
                self.uc.emu_start(address, 0xFFFFFFFE)
            except u.UcError as error:
                raise self._fault(str(error)) from None
            address = self.uc.reg_read(arm.UC_ARM_REG_PC) | 1
        if not isinstance(self.ended, Exited):
            raise self.ended
        printed = self.console.getvalue().decode(errors="replace")
        return Profile(self.core.name, self.ended.code, self._finish(), printed)

    def _finish(self) -> dict[str, Cost]:
        sizes = {symbol.name: symbol.size for symbol in self.image.functions}
        for name, cost in self.costs.items():
            cost.code_bytes = sizes.get(name, 0)
        return dict(self.costs)

    def _fault(self, what: str) -> UserError:
        at = self.uc.reg_read(self.arm.UC_ARM_REG_PC)
        return UserError(
            f"it stopped in {self._function(at)} at {at:#x} ({what})",
            f"firmware {self.elf}",
            "Does it run on the virtual board? Is --cpu right?",
        )

    def _function(self, address: int) -> str:
        index = bisect.bisect_right(self.starts, address) - 1
        return self.image.functions[index].name if index >= 0 else "?"

    def _on_interrupt(self, uc: Any, number: int, _: object) -> None:
        """A breakpoint is a request; anything else is a fault."""
        arm = self.arm
        at = uc.reg_read(arm.UC_ARM_REG_PC)
        if self.read(at, 2) != b"\xab\xbe":
            self.ended = self._fault(f"exception {number}")
        else:
            try:
                operation, block = (uc.reg_read(r) for r in (arm.UC_ARM_REG_R0, arm.UC_ARM_REG_R1))
                uc.reg_write(arm.UC_ARM_REG_R0, self.semihosting.call(operation, block))
                uc.reg_write(arm.UC_ARM_REG_PC, (at + 2) | 1)
            except Exited as end:
                self.ended = end
        if self.ended:
            uc.emu_stop()

    def _on_block(self, uc: Any, address: int, size: int, _: object) -> None:
        count, cycles = self.blocks.get((address, size)) or self._measure(address, size)
        if self.block_end is not None and self.block_end != address:
            self.cycles += self.core.timing.taken_branch
        self.block_end = address + size
        if self.frames or address in self.tracked:
            self._follow_calls(uc, address)
        self.instructions += count
        self.cycles += cycles
        if self.instructions > INSTRUCTION_LIMIT:
            self.ended = UserError(
                f"it did not end within {INSTRUCTION_LIMIT:,} instructions",
                f"firmware {self.elf}",
                "Let main() return, or call exit()",
            )
            uc.emu_stop()

    def _measure(self, address: int, size: int) -> tuple[int, int]:
        code = list(self.disassembler.disasm(self.read(address, size), address))
        cycles = self.core.timing.cycles([_description(i) for i in code])
        self.blocks[address, size] = (len(code), cycles)
        return len(code), cycles

    def _follow_calls(self, uc: Any, address: int) -> None:
        """Closes the calls that have returned here, and opens one where a tracked function begins."""
        stack = uc.reg_read(self.arm.UC_ARM_REG_SP)
        while (
            self.frames
            and self.frames[-1].returns_to == address
            and stack >= self.frames[-1].stack_pointer
        ):
            self._close(self.frames.pop())
        for frame in self.frames:
            frame.lowest = min(frame.lowest, stack)
        if address in self.tracked:
            back = uc.reg_read(self.arm.UC_ARM_REG_LR) & ~1
            counted = (self.instructions, self.cycles)
            self.frames.append(_Frame(self.tracked[address], back, stack, *counted, stack))

    def _close(self, frame: _Frame) -> None:
        cost = self.costs[frame.function]
        cost.calls += 1
        cost.instructions += self.instructions - frame.instructions
        cost.cycles += self.cycles - frame.cycles
        cost.stack_bytes = max(cost.stack_bytes, frame.stack_pointer - frame.lowest)


def _tracked(image: _Image) -> dict[int, str]:
    """Address -> name of every model's functions that an inference runs."""
    models = [match[1] for s in image.functions if (match := _INFER.match(s.name))]
    return {
        symbol.address: symbol.name
        for symbol in image.functions
        if any(symbol.name.startswith(f"{model}_") for model in models)
    }


def _disassembler() -> Any:
    import capstone

    disassembler = capstone.Cs(
        capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS
    )
    disassembler.detail = True
    return disassembler


def _description(instruction: Any) -> tuple[str, int, bool]:
    """(mnemonic, registers of a multiple load or store, is 64 bits wide)."""
    full = instruction.mnemonic
    name = full.split(".")[0]
    listed = len(instruction.operands)
    registers = listed if name in ("push", "pop", "vpush", "vpop") else listed - 1
    return name, registers, ".64" in full or " d" in f" {instruction.op_str[:1]}"


# --- the face


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("elf", type=Path, help="firmware.elf, built for a virtual board")
    parser.add_argument("--cpu", help="such as cortex-m4; by default what the ELF says")
    parser.add_argument("--report", type=Path, help="the model's report.json, for cycles a product")
    parser.add_argument("--clock-hz", type=int, metavar="HZ", help="to tell milliseconds")
    parser.add_argument("--directory", type=Path, help="where the firmware opens its files")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(parsed: argparse.Namespace) -> int:
    measured = profile(parsed.elf, cpu=parsed.cpu, folder=parsed.directory)
    macs = _macs(parsed.report) if parsed.report else {}
    if parsed.json:
        print(json.dumps(to_json(measured), indent=1))
    else:
        print(table(measured, macs, parsed.clock_hz))
    return 0


def _macs(path: Path) -> dict[str, int]:
    try:
        facts = json.loads(path.read_text())
        return {layer["function"]: layer["dense_macs"] for layer in facts["layers"]}
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"it cannot be read ({error})", f"report {path}", "Name the report.json of the model"
        ) from None


def to_json(measured: Profile) -> dict[str, Any]:
    """{"schema", "cpu", "exit_code", "functions": {name: what one call costs}}; stable."""
    return {
        "schema": 1,
        "cpu": measured.cpu,
        "exit_code": measured.exit_code,
        "functions": {
            name: {
                "calls": cost.calls,
                "instructions": cost.instructions / cost.calls,
                "cycles": cost.cycles / cost.calls,
                "stack_bytes": cost.stack_bytes,
                "code_bytes": cost.code_bytes,
            }
            for name, cost in measured.costs.items()
            if cost.calls
        },
    }


def table(measured: Profile, macs: dict[str, int], clock_hz: int | None) -> str:
    """A line a function, what one call costs on average, in the order in which they first end."""
    rows = [["function", "calls", "instructions", "cycles", "per MAC", "ms", "stack B", "code B"]]
    for name, cost in measured.costs.items():
        cycles = cost.cycles / cost.calls
        rows.append(
            [
                name,
                f"{cost.calls:,}",
                f"{cost.instructions / cost.calls:,.0f}",
                f"{cycles:,.0f}",
                f"{cycles / macs[name]:.2f}" if macs.get(name) else "",
                f"{1e3 * cycles / clock_hz:.2f}" if clock_hz else "",
                f"{cost.stack_bytes:,}",
                f"{cost.code_bytes:,}",
            ]
        )
    lines = columns(rows, right=(1, 2, 3, 4, 5, 6, 7))
    return "\n".join(
        [*lines, "", f"modelled for {measured.cpu}: {find(measured.cpu).timing.source}"]
    )
