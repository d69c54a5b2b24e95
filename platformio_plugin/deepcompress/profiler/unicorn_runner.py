"""The engine for cores with a timing model: runs a firmware in unicorn and counts each call.

Cycles are counted per basic block: the cost of a block is computed when it first runs, and added
each time it runs to the node of the call tree that is running.

Not modelled: interrupts, a second stack (threads), and peripherals, whose registers read as zero
and ignore writes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deepcompress.errors import UserError
from deepcompress.profiler.call_tree import CallTree
from deepcompress.profiler.elf import Firmware, FunctionSymbol
from deepcompress.profiler.engine import CLOCK_HZ, Request, Trace
from deepcompress.profiler.semihosting import Semihosting
from deepcompress.target.core import Cpu, Instruction, Timing

_PAGE = 0x1000
_HEAP = 16 << 20  # writable segments closer than this are one RAM, with heap or stack between
_STACK = 64 << 10  # RAM below the initial stack pointer, which no segment may cover
# RAM for inferences that are called alone: four arguments and the stack. Arm's address map has
# external RAM there; the RAM of chips is elsewhere. Inferences return to its start.
_ARGUMENT = 256 << 10
_OWN_RAM = range(0x9E000000, 0x9E000000 + 5 * _ARGUMENT)
_PERIPHERALS = range(0x40000000, 0x60000000)
_SYSTEM = range(0xE0000000, 0xE0100000)
_FPEXC_ENABLED = 1 << 30
_NEVER = 0xFFFFFFFE
_BREAKPOINT = 7
_EXCEPTIONS = {
    1: "an undefined instruction",
    2: "an SVC",
    _BREAKPOINT: "a breakpoint",
    17: "an FPU instruction it lacks",
}
_DOUBLE = " (it has no double precision; a Cortex-M7 can be built with -mfpu=fpv5-sp-d16)"
_SEMIHOSTING = b"\xab\xbe"  # bkpt 0xab

# Flash with wait states is read in lines of 128 bits; one is buffered for code and one for data.
_LINE_SHIFT = 4


class _UnicornEngine:
    """See `Engine`: cycles by the core's timing, of a run from reset or of inferences alone."""

    counts_cycles = True

    def model(self, cpu: Cpu) -> tuple[str, str]:
        timing = _timing(cpu)
        return timing.source, timing.limits

    def trace(
        self, firmware: Firmware, cpu: Cpu, inferences: frozenset[int], request: Request
    ) -> Trace:
        if request.unaligned and not _timing(cpu).splits_words:
            raise UserError(
                f"the cost of an unaligned word on a {cpu.name} is unknown",
                "option --unaligned",
                "Leave it out; it is known for a Cortex-M3 and a Cortex-M4",
            )
        run = _call_alone if request.alone else _run_from_reset
        return run(firmware, cpu, inferences, request)


UNICORN_ENGINE = _UnicornEngine()


def _timing(cpu: Cpu) -> Timing:
    if cpu.timing is None:
        raise AssertionError(f"{cpu.name} has no timing: QEMU profiles it")
    return cpu.timing


def _run_from_reset(
    firmware: Firmware, cpu: Cpu, inferences: frozenset[int], request: Request
) -> Trace:
    stack, reset = firmware.vectors
    ram = range(max(0, stack - _STACK), stack)
    machine = _Machine(firmware, cpu, inferences, request, ram)
    host = Semihosting(
        machine,
        folder=request.folder or Path.cwd(),
        console=request.console,
        elapsed=machine.calls.cycles,
        clock_hz=request.clock_hz or CLOCK_HZ,
    )
    try:
        machine.run(reset, host)
    finally:
        host.close()
    return Trace(tuple(machine.calls.inferences), host.exit_code)


def _call_alone(
    firmware: Firmware, cpu: Cpu, inferences: frozenset[int], request: Request
) -> Trace:
    """Calls each inference once; one that another inference calls is part of that."""
    machine = _Machine(firmware, cpu, inferences, replace(request, calls=None), _OWN_RAM)
    machine.set_data()
    for function in firmware.functions:
        if function.address in inferences:
            machine.call(function)
    calls = machine.calls.inferences
    parts = {part.function for call in calls for part in call.walk() if part is not call}
    return Trace(tuple(call for call in calls if call.function not in parts), exit_code=None)


@dataclass(frozen=True)
class _Block:
    """A basic block: its cost, and what the call tree needs to know."""

    function: FunctionSymbol
    instructions: int
    cycles: int
    taken: int
    end: int
    leaves_by: str  # name of its last instruction
    pushed: int
    moves_stack: bool
    lines: range  # lines of flash


class _Machine:
    """A core with its memory, counters and call tree. The stack starts at the end of `ram`."""

    def __init__(
        self, firmware: Firmware, cpu: Cpu, targets: frozenset[int], request: Request, ram: range
    ) -> None:
        import unicorn
        from unicorn import arm_const as arm

        self.unicorn: Any = unicorn
        self.arm = arm
        self.firmware, self.cpu, self.request = firmware, cpu, request
        self.timing, self.wait_states, self.ram = _timing(cpu), request.wait_states, ram
        self.calls = CallTree(targets, lambda: self.uc.reg_read(arm.UC_ARM_REG_SP))
        self.blocks: dict[int, _Block] = {}
        self.last: _Block | None = None
        self.instructions_left = request.instruction_limit
        self.code_line = self.data_line = -1
        self.interrupt: int | None = None
        self.bad_access: int | None = None
        self.uc: Any = self._core()
        self._watch()

    def _core(self) -> Any:
        unicorn, arm = self.unicorn, self.arm
        uc = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
        uc.ctl_set_cpu_model(getattr(arm, f"UC_CPU_ARM_{self.cpu.unicorn_model}"))
        for region in _memory(self.firmware, self.ram):
            uc.mem_map(region.start, len(region))
        uc.mem_map(_SYSTEM.start, len(_SYSTEM))
        for segment in self.firmware.segments:
            if segment.data:
                uc.mem_write(segment.load_address, segment.data)
        uc.reg_write(arm.UC_ARM_REG_SP, self.ram.stop)
        uc.reg_write(arm.UC_ARM_REG_FPEXC, _FPEXC_ENABLED)
        uc.hook_add(unicorn.UC_HOOK_BLOCK, self._on_block)
        uc.hook_add(unicorn.UC_HOOK_INTR, self._on_interrupt)
        uc.hook_add(unicorn.UC_HOOK_MEM_INVALID, self._on_bad_access)
        return uc

    def _watch(self) -> None:
        """Also counts single loads from flash and unaligned accesses, if requested."""
        loads, stores = self.unicorn.UC_HOOK_MEM_READ, self.unicorn.UC_HOOK_MEM_WRITE
        if self.request.flash_reads or self.wait_states:
            flash = self.firmware.flash
            self.uc.hook_add(loads, self._on_flash_read, begin=flash.start, end=flash.stop - 1)
        if self.request.unaligned:
            self.uc.hook_add(loads | stores, self._on_access)

    def read(self, address: int, size: int) -> bytes:
        return bytes(self.uc.mem_read(address, size)) if size else b""

    def write(self, address: int, data: bytes) -> None:
        if data:
            self.uc.mem_write(address, data)

    # --- running

    def set_data(self) -> None:
        """Copies initial data to its run address, as the firmware's start-up does."""
        for segment in self.firmware.segments:
            if segment.run_address != segment.load_address:
                self.write(segment.run_address, segment.data)

    def call(self, function: FunctionSymbol) -> None:
        """Calls a function with pointers as arguments and runs it until it returns."""
        arm, back = self.arm, self.ram.start
        self.uc.reg_write(arm.UC_ARM_REG_SP, self.ram.stop)
        self.uc.reg_write(arm.UC_ARM_REG_LR, back | 1)
        for number in range(4):
            argument = self.ram.start + number * _ARGUMENT
            self.uc.reg_write(getattr(arm, f"UC_ARM_REG_R{number}"), argument)
        self.calls.follow("bl", back, function.address, function)
        try:
            self.uc.emu_start(function.address | 1, back)
        except self.unicorn.UcError as error:
            raise self._fault(error) from None
        self._enough()
        if self.uc.reg_read(arm.UC_ARM_REG_PC) != back:
            raise self._met_exception(self.uc.reg_read(arm.UC_ARM_REG_PC))
        if self.last is not None:
            self.calls.here.cycles += self.last.taken
        self.calls.close_all()
        self.last = None

    def run(self, reset: int, host: Semihosting) -> None:
        """Runs until the firmware exits or the requested inferences have returned."""
        address = reset
        while host.exit_code is None and not self._enough():
            self.interrupt = None
            try:
                self.uc.emu_start(address | 1, _NEVER)
                if self._enough():
                    break
                address = self._answer(host)
            except self.unicorn.UcError as error:
                raise self._fault(error) from None
        self.calls.close_all()

    def _enough(self) -> bool:
        if self.instructions_left < 0:
            raise UserError(
                f"it did not end within {self.request.instruction_limit:,} instructions; it was in "
                f"{self.calls.here.function.name}",
                f"firmware {self.firmware.path}",
                "End it by returning from main() or by exit(), or stop it after some inferences "
                "with --calls. Peripherals are not modelled: a loop that waits for one never ends; "
                "--alone runs the inferences only",
            )
        return self._inferences_are_enough()

    def _inferences_are_enough(self) -> bool:
        wanted = self.request.calls
        return wanted is not None and self.calls.finished() >= wanted

    def _answer(self, host: Semihosting) -> int:
        """Carries out the semihosting request that stopped the core; returns where to continue."""
        arm = self.arm
        at = int(self.uc.reg_read(arm.UC_ARM_REG_PC))
        if self.interrupt != _BREAKPOINT or self.read(at, 2) != _SEMIHOSTING:
            raise self._met_exception(at)
        operation, block = (self.uc.reg_read(r) for r in (arm.UC_ARM_REG_R0, arm.UC_ARM_REG_R1))
        self.uc.reg_write(arm.UC_ARM_REG_R0, host.call(operation, block))
        return at + len(_SEMIHOSTING)

    def _met_exception(self, at: int) -> UserError:
        if self.interrupt is None:
            what = "sleeps there for an interrupt, and interrupts are not modelled"
            return self._stopped(at, what)
        what = _EXCEPTIONS.get(self.interrupt, f"exception {self.interrupt} of unicorn")
        return self._stopped(at, f"meets {what} there")

    def _fault(self, error: Any) -> UserError:
        at = self.uc.reg_read(self.arm.UC_ARM_REG_PC)
        if self.bad_access is not None:
            what = f"accesses {self.bad_access:#010x}, where there is neither flash nor RAM"
        elif error.errno == self.unicorn.UC_ERR_INSN_INVALID:
            what = f"meets an instruction that unicorn's {self.cpu.name} does not have{_DOUBLE}"
        else:
            what = f"faults ({error})"
        return self._stopped(at, what)

    def _stopped(self, at: int, what: str) -> UserError:
        return UserError(
            f"{self.firmware.function_at(at).name}, at {at:#010x}, {what}",
            f"firmware {self.firmware.path}",
            f"Check that it runs on a {self.cpu.name} in QEMU, and that --cpu is what it was built "
            "for; for a real board's firmware, call its inferences alone (--alone)",
        )

    # --- callbacks of unicorn

    def _on_interrupt(self, uc: Any, number: int, _: object) -> None:
        self.interrupt = number
        uc.emu_stop()

    def _on_bad_access(
        self, uc: Any, access: int, address: int, size: int, value: int, _: object
    ) -> bool:
        """Maps a page of registers if the address is a peripheral's."""
        if address not in _PERIPHERALS:
            self.bad_access = address
            return False
        uc.mem_map(address & -_PAGE, _PAGE)
        return True

    def _on_flash_read(
        self, uc: Any, access: int, address: int, size: int, value: int, _: object
    ) -> None:
        self.calls.here.flash_bytes += size
        line = address >> _LINE_SHIFT
        if line != self.data_line:
            self.data_line = line
            self.calls.here.cycles += self.wait_states

    def _on_access(
        self, uc: Any, access: int, address: int, size: int, value: int, _: object
    ) -> None:
        """Splits a halfword into two bytes, a word into two halfwords or byte, halfword, byte."""
        if size in (2, 4) and address % size:
            self.calls.here.cycles += 1 if size == 2 or address % 2 == 0 else 2

    def _on_block(self, uc: Any, address: int, size: int, _: object) -> None:
        block = self.blocks.get(address << 12 | size) or self._learn(address, size)
        last, calls = self.last, self.calls
        if last is not None:
            if last.end != address:
                self._jump(last, block, address)
            if last.moves_stack or block.moves_stack:
                calls.note_stack(block.pushed)
        here = calls.here
        here.instructions += block.instructions
        here.cycles += block.cycles
        if self.wait_states:
            self._fetch(block)
        self.instructions_left -= block.instructions
        if self.instructions_left < 0:
            uc.emu_stop()
        self.last = block

    def _jump(self, last: _Block, block: _Block, address: int) -> None:
        self.calls.here.cycles += last.taken
        if (
            last.leaves_by != "b" or address == block.function.address
        ):  # otherwise inside a function
            self.calls.follow(last.leaves_by, last.end, address, block.function)
            if self._inferences_are_enough():
                self.uc.emu_stop()

    def _learn(self, address: int, size: int) -> _Block:
        from deepcompress.profiler.disassemble import decode

        code = decode(self.read(address, size), address)
        cost = self.timing.cost(code)
        function = self.firmware.function_at(address)
        in_flash = address in self.firmware.flash
        block = _Block(
            function=function,
            instructions=len(code),
            cycles=cost.cycles,
            taken=cost.taken,
            end=address + size,
            leaves_by=code[-1].name if code else "",
            pushed=_pushed(code),
            moves_stack=any("sp" in instruction.writes for instruction in code),
            lines=range(address >> _LINE_SHIFT, (address + size - 1 >> _LINE_SHIFT) + 1)
            if in_flash
            else range(0),
        )
        self.blocks[address << 12 | size] = block
        return block

    def _fetch(self, block: _Block) -> None:
        if block.lines:
            buffered = block.lines.start == self.code_line
            self.calls.here.cycles += self.wait_states * (len(block.lines) - buffered)
            self.code_line = block.lines[-1]


def _pushed(code: list[Instruction]) -> int:
    """Bytes by which a block lowers the stack pointer before it may raise it again."""
    pushed = 0
    for instruction in code:
        if "sp" in instruction.writes and not instruction.pushed:
            break
        pushed += instruction.pushed
    return pushed


def _memory(firmware: Firmware, stack: range) -> list[range]:
    """Whole pages for flash, and for RAM with the heap and stack that no segment covers."""
    flash = [
        range(s.load_address, s.load_address + len(s.data)) for s in firmware.segments if s.data
    ]
    used = [
        range(s.run_address, s.run_address + s.run_size) for s in firmware.segments if s.writable
    ]
    ram = _join([*used, stack], gap=_HEAP)
    code = [
        range(s.run_address, s.run_address + s.run_size)
        for s in firmware.segments
        if not s.writable
    ]
    return _join([*flash, *code, *ram], gap=0)


def _join(ranges: list[range], gap: int) -> list[range]:
    """The ranges in whole pages; those closer than `gap` bytes are joined."""
    joined: list[range] = []
    for start, stop in sorted((r.start & -_PAGE, -(-r.stop // _PAGE) * _PAGE) for r in ranges):
        if joined and start <= joined[-1].stop + gap:
            joined[-1] = range(joined[-1].start, max(joined[-1].stop, stop))
        else:
            joined.append(range(start, stop))
    return joined
