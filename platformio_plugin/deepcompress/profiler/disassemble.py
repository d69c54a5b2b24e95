"""Disassembles Thumb machine code to `Instruction`, by capstone."""

from __future__ import annotations

import functools
from typing import Any

from deepcompress.target.core import MULTIPLE, Instruction

_PAIRS = ("ldrd", "strd")
_NO_BASE = ("push", "pop", "vpush", "vpop")


def decode(code: bytes, address: int) -> list[Instruction]:
    """The instructions of `code`; one that capstone does not know has no name."""
    return [_instruction(found) for found in _disassembler().disasm(code, address)]


@functools.cache
def _disassembler() -> Any:
    import capstone

    mode = capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS | capstone.CS_MODE_V8
    disassembler = capstone.Cs(capstone.CS_ARCH_ARM, mode)
    disassembler.detail = True
    disassembler.skipdata = True
    return disassembler


def _instruction(found: Any) -> Instruction:
    if found.id == 0:
        return Instruction("")
    from capstone import arm

    name = found.insn_name()
    reads, writes = (frozenset(map(found.reg_name, ids)) for ids in found.regs_access())
    memory = [o.mem for o in found.operands if o.type == arm.ARM_OP_MEM]
    addresses = {found.reg_name(id) for m in memory for id in (m.base, m.index) if id}
    words = _words(found, name)
    return Instruction(
        name=name,
        words=words,
        reads=reads,
        writes=writes,
        addresses=frozenset(addresses),
        shifts=any(o.type == arm.ARM_OP_REG and o.shift.type for o in found.operands),
        pushed=_pushed(found, name, words) if "sp" in writes else 0,
    )


def _words(found: Any, name: str) -> int:
    """32-bit words that a multiple transfer moves; a d register has two."""
    if name not in MULTIPLE:
        return 0
    if name in _PAIRS:
        return 2
    registers = [found.reg_name(o.reg) for o in found.operands if o.reg]
    if name in ("vldr", "vstr"):
        registers = registers[:1]
    elif name not in _NO_BASE:
        registers = registers[1:]
    return sum(2 if register.startswith("d") else 1 for register in registers)


def _pushed(found: Any, name: str, words: int) -> int:
    """Bytes by which the instruction lowers the stack pointer, if its operands show it."""
    from capstone import arm

    if name in ("push", "vpush", "stmdb", "vstmdb"):
        return 4 * words
    last = found.operands[-1]
    if name in ("sub", "subw") and last.type == arm.ARM_OP_IMM:
        return int(last.imm)
    if name in ("str", "strd") and found.writeback and last.type == arm.ARM_OP_MEM:
        return max(0, -int(last.mem.disp))
    return 0
