"""Tells calls from jumps while a firmware runs, and keeps what each call does in a tree.

A `bl` opens a call. A jump that arrives at its return address with its stack pointer closes it, and
so does one that leaves the stack higher than that (longjmp). A jump to the beginning of another
function is a call in tail position, which returns together with the one that made it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from deepcompress.profiler.elf import Function

_CALLS = frozenset({"bl", "blx"})
_BRANCHES = frozenset({"b", "cbz", "cbnz"})


@dataclass(eq=False)  # one call equals no other
class Call:
    """A function as it was called at one place of the call tree; counts are its own work.

    Attributes:
        calls: how many times; a call of an inference is never merged with another.
        stack_bytes: the deepest that it and all it calls go below its stack pointer at entry.
        flash_bytes: bytes it loads from flash, where that was asked for.
    """

    function: Function
    calls: int = 0
    instructions: int = 0
    cycles: int = 0
    stack_bytes: int = 0
    flash_bytes: int = 0
    callees: dict[int, Call] = field(default_factory=dict)

    def walk(self) -> Iterator[Call]:
        """This call and all below it."""
        yield self
        for callee in self.callees.values():
            yield from callee.walk()


@dataclass(eq=False)
class _Frame:
    """A call under way."""

    call: Call
    returns_to: int
    stack_pointer: int
    lowest: int


class Calls:
    """The calls under way and those that were.

    Args:
        targets: addresses of the functions whose calls are inferences.
        stack_pointer: reads the core's.

    Attributes:
        here: the call that is running.
        inferences: in order of time, the last of them perhaps still under way.
        root: what runs outside of inferences.
    """

    def __init__(self, targets: frozenset[int], stack_pointer: Callable[[], int]) -> None:
        self.targets, self.stack_pointer = targets, stack_pointer
        self.root = self.here = Call(Function(0, 0, "reset"))
        self.inferences: list[Call] = []
        self.frames: list[_Frame] = []

    def finished(self) -> int:
        """How many inferences have returned."""
        return len(self.inferences) - self._in_inference()

    def cycles(self) -> int:
        """All cycles so far."""
        roots = (self.root, *self.inferences)
        return sum(call.cycles for root in roots for call in root.walk())

    def close_all(self) -> None:
        """The firmware has ended."""
        while self.frames:
            self._close()

    def follow(self, jump: str, after: int, to: int, function: Function) -> None:
        """Opens or closes calls at a jump.

        Args:
            jump: name of the instruction.
            after: the address behind it, where a call returns to.
            to: where it leads, which is in `function`.
        """
        if jump in _CALLS:
            # Armv6-M has no longer jump than bl: within a large function it is no call.
            if to == function.address:
                self._open(function, after)
            return
        returned = jump not in _BRANCHES and self._return_to(to)
        if not returned and to == function.address and function is not self.here.function:
            self._open_tail(function)

    def _return_to(self, address: int) -> bool:
        """Closes the calls that a jump to `address` ends; whether there were any."""
        stack = self.stack_pointer()
        depth = len(self.frames)
        while self.frames:
            frame = self.frames[-1]
            exact = stack == frame.stack_pointer and address == frame.returns_to
            if not exact and stack <= frame.stack_pointer:  # above: left by longjmp
                break
            self._close()
        return len(self.frames) < depth

    def _open_tail(self, function: Function) -> None:
        """A jump to another function: it returns for the one it left, or goes back to it."""
        stack = self.stack_pointer()
        returns_to = self.frames[-1].returns_to if self.frames else 0
        for frame in reversed(self.frames):
            if frame.stack_pointer != stack or frame.returns_to != returns_to:
                break
            if frame.call.function is function:
                while self.frames[-1] is not frame:
                    self._close()
                return
        self._open(function, returns_to)

    def _open(self, function: Function, returns_to: int) -> None:
        if function.address in self.targets and not self._in_inference():
            call = Call(function)
            self.inferences.append(call)
        else:
            call = self.here.callees.setdefault(function.address, Call(function))
        call.calls += 1
        stack = self.stack_pointer()
        self.frames.append(_Frame(call, returns_to, stack, stack))
        self.here = call

    def _close(self) -> None:
        frame = self.frames.pop()
        depth = frame.stack_pointer - frame.lowest
        frame.call.stack_bytes = max(frame.call.stack_bytes, depth)
        if self.frames:
            self.frames[-1].lowest = min(self.frames[-1].lowest, frame.lowest)
        self.here = self.frames[-1].call if self.frames else self.root

    def _in_inference(self) -> bool:
        return any(frame.call in self.inferences[-1:] for frame in self.frames)

    def note_stack(self, pushed: int) -> None:
        """Where the stack pointer moves: the code to come lowers it by `pushed` bytes."""
        if self.frames:
            lowest = self.stack_pointer() - pushed
            self.frames[-1].lowest = min(self.frames[-1].lowest, lowest)
