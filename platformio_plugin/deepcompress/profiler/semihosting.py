"""Arm semihosting for a firmware in an emulator: the operations that newlib and our start-up use.

Numbers and meanings: Arm, Semihosting for AArch32 and AArch64, release 2.0, chapter 7. Clock and
time count modelled cycles, so a run always gives the same result.
"""

from __future__ import annotations

import errno
import io
from collections.abc import Callable
from pathlib import Path
from typing import IO, Protocol

_MODES = ("rb", "rb", "r+b", "r+b", "wb", "wb", "w+b", "w+b", "ab", "ab", "a+b", "a+b")
_FAILED = -1
_APPLICATION_EXIT = 0x20026
_LONGEST_NAME = 4096
# The magic number, then: SYS_EXIT_EXTENDED exists (bit 0), and :tt for stderr (bit 1).
_FEATURES = b"SHFB\x03"


class Memory(Protocol):
    """The firmware's memory. Both raise the emulator's error for an address without memory."""

    def read(self, address: int, size: int) -> bytes: ...
    def write(self, address: int, data: bytes) -> None: ...


class Semihosting:
    """Answers a firmware's requests.

    Args:
        folder: the folder of the firmware's files; it cannot open files outside.
        console: where the firmware's output goes. Its standard input is empty.
        elapsed: cycles since reset.
        clock_hz: cycles per second.

    Attributes:
        exit_code: None until the firmware has ended.
    """

    def __init__(
        self,
        memory: Memory,
        *,
        folder: Path,
        console: IO[bytes],
        elapsed: Callable[[], int],
        clock_hz: int,
    ) -> None:
        self.memory, self.folder, self.console = memory, folder.resolve(), console
        self.elapsed, self.clock_hz = elapsed, clock_hz
        self.exit_code: int | None = None
        self._errno = 0
        self._next_handle = 1
        self._files: dict[int, IO[bytes]] = {}
        self._operations: dict[int, Callable[[int], int]] = {
            0x01: self._open,
            0x02: self._close,
            0x03: self._write_character,
            0x04: self._write_string,
            0x05: self._write,
            0x06: self._read,
            0x09: lambda block: int(self._files[self._word(block, 0)] is self.console),  # ISTTY
            0x0A: self._seek,
            0x0C: self._length,
            0x0E: self._remove,
            0x0F: self._rename,
            0x10: lambda _: 100 * self.elapsed() // self.clock_hz,  # SYS_CLOCK, centiseconds
            0x11: lambda _: self.elapsed() // self.clock_hz,  # SYS_TIME, seconds
            0x13: lambda _: self._errno,
            0x15: self._command_line,
            0x16: self._heap_info,
            0x18: self._exit,
            0x20: self._exit_extended,
        }

    def call(self, operation: int, block: int) -> int:
        """Carries out one request; returns the value for r0."""
        carry_out = self._operations.get(operation)
        if carry_out is None:
            self._errno = errno.ENOSYS
            return _FAILED & 0xFFFFFFFF
        try:
            answer = carry_out(block)
        except KeyError:  # a handle that is not open
            self._errno, answer = errno.EBADF, _FAILED
        except (OSError, ValueError) as error:
            self._errno, answer = getattr(error, "errno", None) or errno.EINVAL, _FAILED
        return answer & 0xFFFFFFFF

    def close(self) -> None:
        """Closes the files that the firmware left open."""
        for file in self._files.values():
            if file is not self.console:
                file.close()
        self._files.clear()
        self.console.flush()

    def _word(self, block: int, index: int) -> int:
        return int.from_bytes(self.memory.read(block + 4 * index, 4), "little")

    def _string(self, address: int) -> bytes:
        data = bytearray()
        while not data.endswith(b"\0"):
            data += self.memory.read(address + len(data), 1)
            if len(data) > _LONGEST_NAME:
                raise OSError(errno.ENAMETOOLONG, "a text without a terminating zero")
        return bytes(data[:-1])

    def _path(self, block: int, index: int) -> Path:
        path = (self.folder / self._string(self._word(block, index)).decode()).resolve()
        if not path.is_relative_to(self.folder):
            raise PermissionError(errno.EACCES, "outside the folder")
        return path

    def _open(self, block: int) -> int:
        mode = self._word(block, 1)
        name = self._string(self._word(block, 0))
        if mode >= len(_MODES):
            raise ValueError(mode)
        if name == b":tt":
            file = io.BytesIO() if mode < 4 else self.console
        elif name == b":semihosting-features":
            file = io.BytesIO(_FEATURES)
        else:
            file = self._path(block, 0).open(_MODES[mode])
        handle, self._next_handle = self._next_handle, self._next_handle + 1
        self._files[handle] = file
        return handle

    def _close(self, block: int) -> int:
        file = self._files.pop(self._word(block, 0))
        if file is not self.console:
            file.close()
        return 0

    def _write_character(self, block: int) -> int:
        self.console.write(self.memory.read(block, 1))
        return 0

    def _write_string(self, block: int) -> int:
        while (character := self.memory.read(block, 1)) != b"\0":
            self.console.write(character)
            block += 1
        return 0

    def _write(self, block: int) -> int:
        """Returns the number of bytes that were not written."""
        file, size = self._files[self._word(block, 0)], self._word(block, 2)
        return size - file.write(self.memory.read(self._word(block, 1), size))

    def _read(self, block: int) -> int:
        """Returns the number of bytes that were not read."""
        size = self._word(block, 2)
        data = self._files[self._word(block, 0)].read(size)
        self.memory.write(self._word(block, 1), data)
        return size - len(data)

    def _seek(self, block: int) -> int:
        self._files[self._word(block, 0)].seek(self._word(block, 1))
        return 0

    def _length(self, block: int) -> int:
        file = self._files[self._word(block, 0)]
        here = file.tell()
        end = file.seek(0, io.SEEK_END)
        file.seek(here)
        return end

    def _remove(self, block: int) -> int:
        self._path(block, 0).unlink()
        return 0

    def _rename(self, block: int) -> int:
        self._path(block, 0).rename(self._path(block, 2))
        return 0

    def _command_line(self, block: int) -> int:
        """An empty one: its length excludes the terminating zero."""
        self.memory.write(self._word(block, 0), b"\0")
        self.memory.write(block + 4, bytes(4))
        return 0

    def _heap_info(self, block: int) -> int:
        """Zeros: the firmware uses what its linker script says."""
        self.memory.write(self._word(block, 0), bytes(16))
        return 0

    def _exit(self, reason: int) -> int:
        self.exit_code = 0 if reason == _APPLICATION_EXIT else 1
        return 0

    def _exit_extended(self, block: int) -> int:
        reason, code = self._word(block, 0), self._word(block, 1)
        self.exit_code = code & 0xFF if reason == _APPLICATION_EXIT else 1
        return 0
