"""Reads a firmware's ELF: its segments, its functions, and the CPU it was built for."""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from deepcompress.errors import UserError
from deepcompress.target import CPUS

_NAME_THE_FIRMWARE = "Name the firmware.elf that PlatformIO leaves in .pio/build/<environment>"
_WRITABLE = 2
# Tag_CPU_arch and Tag_FP_arch of Arm's "Addenda to, and Errata in, the ABI" (IHI 0045).
_V7E_M, _FPV5 = 13, 8


@dataclass(frozen=True)
class FunctionSymbol:
    address: int
    size: int
    name: str


@dataclass(frozen=True)
class Segment:
    """Bytes at their load address; start-up code may copy them to `run_address` and add zeros."""

    load_address: int
    data: bytes
    run_address: int
    run_size: int
    writable: bool


@dataclass(frozen=True)
class Firmware:
    """A linked firmware: `functions` in order of address; `cpu` by gcc's name, None if unknown."""

    path: Path
    segments: tuple[Segment, ...]
    functions: tuple[FunctionSymbol, ...]
    cpu: str | None

    @cached_property
    def starts(self) -> tuple[int, ...]:
        return tuple(function.address for function in self.functions)

    def function_at(self, address: int) -> FunctionSymbol:
        """The function that contains an address; one named "?" before the first."""
        index = bisect.bisect_right(self.starts, address) - 1
        return self.functions[index] if index >= 0 else FunctionSymbol(0, 0, "?")

    @cached_property
    def flash(self) -> range:
        """Load addresses of code, constants and initial data."""
        stored = [
            s for s in self.segments if not (s.writable and s.run_address == s.load_address)
        ] or self.segments
        low = min(s.load_address for s in stored)
        return range(low, max(s.load_address + len(s.data) for s in stored))

    @property
    def vectors(self) -> tuple[int, int]:
        """The stack pointer and the program counter that the core loads at reset."""
        first = min(self.segments, key=lambda s: s.load_address)
        stack, reset = (int.from_bytes(first.data[i : i + 4], "little") for i in (0, 4))
        if not reset & 1 or not any(
            s.run_address <= reset < s.run_address + s.run_size for s in self.segments
        ):
            raise UserError(
                f"there is no vector table at {first.load_address:#x}, where its flash begins",
                f"firmware {self.path}",
                "Link it as a whole firmware, with start-up code, not as a library or a Linux "
                "program",
            )
        return stack, reset


def read_firmware(path: Path) -> Firmware:
    """Reads an ELF for a Cortex-M.

    Raises:
        UserError: it cannot be read, is not an ELF for Arm, or has no symbols.
    """
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        with path.open("rb") as file:
            return _firmware(ELFFile(file), path)
    except OSError as error:
        raise UserError(
            f"it cannot be read ({error.strerror})", f"firmware {path}", _NAME_THE_FIRMWARE
        ) from None
    except ELFError as error:
        raise UserError(
            f"it is not a whole ELF file ({error})", f"firmware {path}", _NAME_THE_FIRMWARE
        ) from None


def _firmware(elf: Any, path: Path) -> Firmware:
    if elf["e_machine"] != "EM_ARM" or elf["e_type"] != "ET_EXEC":
        raise UserError(
            f"it is not a linked program for Arm ({elf['e_machine']}, {elf['e_type']})",
            f"firmware {path}",
            _NAME_THE_FIRMWARE,
        )
    segments = tuple(
        Segment(s["p_paddr"], s.data(), s["p_vaddr"], s["p_memsz"], bool(s["p_flags"] & _WRITABLE))
        for s in elf.iter_segments("PT_LOAD")
        if s["p_memsz"]
    )
    functions = _functions(elf.get_section_by_name(".symtab"))
    if not functions or not segments:
        raise UserError(
            "it has no symbols, so the beginnings of functions are unknown",
            f"firmware {path}",
            "Use the ELF that the linker wrote, before strip; link without -s",
        )
    return Firmware(path, segments, functions, _cpu(elf))


def _functions(symbols: Any) -> tuple[FunctionSymbol, ...]:
    """One function per address; a long-branch veneer counts as the function it jumps to."""
    found: dict[int, FunctionSymbol] = {}
    for symbol in symbols.iter_symbols() if symbols else ():
        if symbol["st_info"]["type"] != "STT_FUNC" or symbol["st_shndx"] == "SHN_UNDEF":
            continue
        address = symbol["st_value"] & ~1
        name = re.sub(r"^__(.+)_veneer$", r"\1", symbol.name)
        known = found.get(address)
        # Of several names for one address, the global one is the name in the source.
        if known is None or symbol["st_info"]["bind"] == "STB_GLOBAL":
            found[address] = FunctionSymbol(address, symbol["st_size"], name)
    return tuple(found[address] for address in sorted(found))


def _cpu(elf: Any) -> str | None:
    """The CPU by name if the build attributes have one, else by architecture and FPU."""
    section = elf.get_section_by_name(".ARM.attributes")
    if section is None:
        return None
    values = {
        attribute.tag: attribute.value
        for subsection in section.iter_subsections()
        for part in subsection.iter_subsubsections()
        for attribute in part.iter_attributes()
    }
    name = str(values.get("TAG_CPU_NAME", "")).lower()
    if name in CPUS:
        return name
    architecture = values.get("TAG_CPU_ARCH")
    if architecture == _V7E_M and values.get("TAG_FP_ARCH", 0) >= _FPV5:
        return "cortex-m7"
    matching = (cpu.name for cpu in CPUS.values() if architecture in cpu.elf_architectures)
    return next(matching, None)
