"""Arm semihosting for a firmware that runs in an emulator: files, console, exit.

Arm, Semihosting for AArch32 and AArch64, release 2.0, chapter 7 has the operations' numbers.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Protocol

_MODES = ("rb", "rb", "r+b", "r+b", "wb", "wb", "w+b", "w+b", "ab", "ab", "a+b", "a+b")
_FAILED = 0xFFFFFFFF
_APPLICATION_EXIT = 0x20026


class Memory(Protocol):
    def read(self, address: int, size: int) -> bytes: ...
    def write(self, address: int, data: bytes) -> None: ...


class Exited(Exception):
    """The firmware has ended."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Semihosting:
    """Answers a firmware's requests. Files are those below `folder`.

    Args:
        console: where what the firmware prints goes.
    """

    def __init__(
        self,
        memory: Memory,
        *,
        folder: Path,
        heap: tuple[int, int],
        console: IO[bytes] | None = None,
    ) -> None:
        self.memory, self.folder, self.heap = memory, folder.resolve(), heap
        self.console = console or sys.stdout.buffer
        self.files: dict[int, IO[bytes] | None] = {}
        self.operations: dict[int, Callable[[int], int]] = {
            0x01: self._open,
            0x02: self._close,
            0x03: self._write_character,
            0x04: self._write_string,
            0x05: self._write,
            0x06: self._read,
            0x08: lambda block: 0,
            0x09: lambda block: int(self._file(block) is None),
            0x0A: self._seek,
            0x0C: self._length,
            0x0E: self._remove,
            0x10: lambda block: int(time.process_time() * 100),
            0x11: lambda block: int(time.time()),
            0x13: lambda block: 2,
            0x15: self._command_line,
            0x16: self._heap_info,
            0x18: self._exit,
            0x20: self._exit_extended,
        }

    def call(self, operation: int, block: int) -> int:
        """Carries out one request; returns what goes into r0. Raises Exited."""
        answer = self.operations.get(operation, lambda _: _FAILED)(block)
        return answer & 0xFFFFFFFF

    def _word(self, block: int, index: int) -> int:
        return int.from_bytes(self.memory.read(block + 4 * index, 4), "little")

    def _file(self, block: int) -> IO[bytes] | None:
        return self.files.get(self._word(block, 0))

    def _text(self, address: int) -> str:
        data = b""
        while not data.endswith(b"\0"):
            data += self.memory.read(address + len(data), 1)
        return data[:-1].decode(errors="replace")

    def _open(self, block: int) -> int:
        name = self._text(self._word(block, 0))
        mode = self._word(block, 1)
        handle = len(self.files) + 1
        if name == ":tt":
            self.files[handle] = None
            return handle
        path = (self.folder / name).resolve()
        if not path.is_relative_to(self.folder):
            return _FAILED
        try:
            self.files[handle] = path.open(_MODES[mode])
        except OSError:
            return _FAILED
        return handle

    def _close(self, block: int) -> int:
        file = self._file(block)
        if file:
            file.close()
        return 0

    def _write_character(self, block: int) -> int:
        self.console.write(self.memory.read(block, 1))
        return 0

    def _write_string(self, block: int) -> int:
        self.console.write(self._text(block).encode())
        return 0

    def _write(self, block: int) -> int:
        data = self.memory.read(self._word(block, 1), self._word(block, 2))
        (self._file(block) or self.console).write(data)
        return 0

    def _read(self, block: int) -> int:
        file, size = self._file(block), self._word(block, 2)
        data = file.read(size) if file else b""
        self.memory.write(self._word(block, 1), data)
        return size - len(data)

    def _seek(self, block: int) -> int:
        file = self._file(block)
        if file is None:
            return _FAILED
        file.seek(self._word(block, 1))
        return 0

    def _length(self, block: int) -> int:
        file = self._file(block)
        return Path(file.name).stat().st_size if file else 0

    def _remove(self, block: int) -> int:
        path = (self.folder / self._text(self._word(block, 0))).resolve()
        if not path.is_relative_to(self.folder) or not path.is_file():
            return _FAILED
        path.unlink()
        return 0

    def _command_line(self, block: int) -> int:
        self.memory.write(self._word(block, 0), b"\0")
        self.memory.write(block + 4, bytes(4))
        return 0

    def _heap_info(self, block: int) -> int:
        base, limit = self.heap
        words = (base, limit, limit, base)
        data = b"".join(word.to_bytes(4, "little") for word in words)
        self.memory.write(self._word(block, 0), data)
        return 0

    def _exit(self, block: int) -> int:
        raise Exited(0 if block == _APPLICATION_EXIT else 1)

    def _exit_extended(self, block: int) -> int:
        raise Exited(self._word(block, 1) if self._word(block, 0) == _APPLICATION_EXIT else 1)
