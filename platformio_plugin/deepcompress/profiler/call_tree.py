"""Recognizes calls and returns among the jumps of a running firmware, and builds the call tree.

A `bl` opens a call. A jump to its return address with the stack pointer it had at entry closes the
call; so does a jump that leaves the stack pointer above that (longjmp). A jump to the first
instruction of another function is a tail call: it returns together with its caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from deepcompress.profiler.elf import FunctionSymbol

_CALLS = frozenset({"bl", "blx"})
_BRANCHES = frozenset({"b", "cbz", "cbnz"})


@dataclass(eq=False)  # compared by identity
class CallNode:
    """A function at one place of the call tree; counts exclude what it calls.

    Attributes:
        calls: how many calls this node stands for; each call of an inference has its own node.
        stack_bytes: the most bytes that it and its callees use below its stack pointer at entry.
        flash_bytes: bytes it loads from flash, if that is counted.
    """

    function: FunctionSymbol
    calls: int = 0
    instructions: int = 0
    cycles: int = 0
    stack_bytes: int = 0
    flash_bytes: int = 0
    callees: dict[int, CallNode] = field(default_factory=dict)

    def walk(self) -> Iterator[CallNode]:
        """This node and all below it."""
        yield self
        for callee in self.callees.values():
            yield from callee.walk()


@dataclass(eq=False)
class _Frame:
    """A call that has not returned."""

    call: CallNode
    returns_to: int
    stack_pointer: int
    lowest: int


class CallTree:
    """The call tree of a run, and the stack of calls that have not returned.

    Args:
        targets: addresses of the functions whose calls are inferences.
        stack_pointer: reads the core's.

    Attributes:
        here: the node that is running.
        inferences: in order of time; the last may not have returned.
        root: what runs outside inferences.
    """

    def __init__(self, targets: frozenset[int], stack_pointer: Callable[[], int]) -> None:
        self.targets, self.stack_pointer = targets, stack_pointer
        self.root = self.here = CallNode(FunctionSymbol(0, 0, "reset"))
        self.inferences: list[CallNode] = []
        self.frames: list[_Frame] = []

    def finished(self) -> int:
        """How many inferences have returned."""
        return len(self.inferences) - self._in_inference()

    def cycles(self) -> int:
        """All cycles up to now."""
        roots = (self.root, *self.inferences)
        return sum(call.cycles for root in roots for call in root.walk())

    def close_all(self) -> None:
        """Closes all calls, as the firmware has ended."""
        while self.frames:
            self._close()

    def follow(self, jump: str, after: int, to: int, function: FunctionSymbol) -> None:
        """Opens or closes calls at a jump.

        Args:
            jump: name of the instruction.
            after: the address of the next instruction, where a call returns to.
            to: the target, which is in `function`.
        """
        if jump in _CALLS:
            # On Armv6-M, bl is also the longest jump: within a large function it is no call.
            if to == function.address:
                self._open(function, after)
            return
        returned = jump not in _BRANCHES and self._return_to(to)
        if not returned and to == function.address and function is not self.here.function:
            self._open_tail(function)

    def _return_to(self, address: int) -> bool:
        """Closes the calls that a jump to `address` ends; returns whether there were any."""
        stack = self.stack_pointer()
        depth = len(self.frames)
        while self.frames:
            frame = self.frames[-1]
            exact = stack == frame.stack_pointer and address == frame.returns_to
            if not exact and stack <= frame.stack_pointer:  # above: left by longjmp
                break
            self._close()
        return len(self.frames) < depth

    def _open_tail(self, function: FunctionSymbol) -> None:
        """A tail call: the function returns to the caller of the one it left, or is that caller."""
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

    def _open(self, function: FunctionSymbol, returns_to: int) -> None:
        if function.address in self.targets and not self._in_inference():
            call = CallNode(function)
            self.inferences.append(call)
        else:
            call = self.here.callees.setdefault(function.address, CallNode(function))
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
        """Updates the lowest stack pointer: the next code lowers it by `pushed` bytes."""
        if self.frames:
            lowest = self.stack_pointer() - pushed
            self.frames[-1].lowest = min(self.frames[-1].lowest, lowest)
