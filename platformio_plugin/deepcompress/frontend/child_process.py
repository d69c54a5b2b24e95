"""Opens a model file in a process of its own, with bounds on memory and time.

torch can crash on a hostile file, take all memory or never return. In a child process this is an
error of one paragraph. What the child sends is checked (see `graph_codec`), not trusted.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from deepcompress.errors import UserError
from deepcompress.frontend.child_main import CAN_FORK, EXIT_MEMORY
from deepcompress.frontend.file_errors import where
from deepcompress.frontend.frontend import LayerCallback
from deepcompress.frontend.graph_codec import (
    MalformedMessage,
    decode_error,
    decode_graph,
    decode_layer,
    read_message,
)
from deepcompress.frontend.open_graph import choose_frontend, open_graph
from deepcompress.frontend.open_limits import OpenLimits, limits_of, out_of_memory, out_of_time
from deepcompress.ir.graph import Graph
from deepcompress.options import Options

# The options that a front end reads.
_OPTIONS = (
    "input_shape",
    "architecture",
    "checkpoint_key",
    "trust_pickle",
    "calibration",
    "stateful",
    "import_seconds",
    "open_memory",
    "open_seconds",
    "open_layers",
)
# Bytes of names and shapes, next to those of the weights.
_LARGEST_STRUCTURE = 1 << 26
_LARGEST_CHUNK = 1 << 21
# The caller ends a process that does not end itself in time.
_GRACE_SECONDS = 10

# The process imports this package from where the caller has it.
_PROGRAM = "import sys; sys.path[:] = {path}; from deepcompress.frontend.child_main import main; "
_PROGRAM += "sys.exit(main(fork={fork}))"


class ChildError(Exception):
    """A defect of DeepCompress in the child process; its cause has the child's traceback."""


class _ChildTraceback(Exception):
    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def open_graph_in_child(
    path: Path,
    options: Options,
    *,
    name: str,
    layer: LayerCallback = lambda layer: None,
    meanwhile: Callable[[], object] = lambda: None,
    server: Server | None = None,
) -> Graph:
    """The float Graph of a model file, opened in a child process; see `open_graph`.

    Args:
        meanwhile: called once, while the child works.
        server: the process that starts the child; by default one for all files.

    Raises:
        UserError: those of `open_graph`; the child has crashed, or needs more than the options
            `open_memory` and `open_seconds` allow.
        ChildError: a defect.
    """
    frontend = choose_frontend(path)
    if not frontend.uses_torch:
        return open_graph(path, options, name=name, layer=layer)
    request = {
        "kind": frontend.name,
        "path": str(path),
        "name": name,
        "options": {option: getattr(options, option) for option in _OPTIONS},
        "folder": str(Path.cwd()),
        "environment": dict(os.environ),
        "search_path": sys.path,
    }
    with (server or _SERVER).running(limits_of(options)) as process:
        return _Answer(process, path, options).read(request, layer, meanwhile)


class _Answer:
    """What the process answers to one request."""

    def __init__(self, process: _Process, path: Path, options: Options) -> None:
        self._process, self._path, self._limits = process, path, limits_of(options)
        self._bytes = bytearray()
        self._ending: tuple[bool, int] | None = None

    def read(
        self, request: dict[str, Any], layer: LayerCallback, meanwhile: Callable[[], object]
    ) -> Graph:
        """Sends the request; the graph, or the error that the process answers, or of its death."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        meanwhile()
        try:
            result = self._result(layer)
        except MalformedMessage as error:
            raise self._crash(f"its answer is not valid: {error}") from None
        finally:
            if self._ending is None:
                self._process.end()
        if isinstance(result, Graph):
            return result
        raise result or self._death()

    def _result(self, layer: LayerCallback) -> Graph | Exception | None:
        """The last answer, None if the child has died before it could give one."""
        longest = 4 * self._limits.weights + _LARGEST_STRUCTURE
        while message := read_message(self._take, longest):
            kind, header, body = message
            if kind == b"L":
                layer(decode_layer(header))
                continue
            result = _decoded(kind, header, body)
            while self._ending is None:
                self._receive()
            return result
        return None

    def _take(self, size: int) -> bytes:
        """The next bytes that the child wrote; fewer at its end."""
        while len(self._bytes) < size and self._ending is None:
            self._bytes += self._receive()
        taken = bytes(self._bytes[:size])
        del self._bytes[:size]
        return taken

    def _receive(self) -> bytes:
        """Some of the child's bytes; none when it has ended."""
        assert self._process.stdout is not None
        message = read_message(self._process.stdout.read, _LARGEST_CHUNK)
        if message is None:
            self._ending = False, self._process.wait()
            return b""
        kind, header, body = message
        if kind == b"X":
            late, status = header
            self._ending = bool(late), int(status)
        return body

    def _death(self) -> UserError:
        """The error of a child that has ended without an answer."""
        assert self._ending is not None
        late, status = self._ending
        if late or status == -_signal("SIGXCPU") or self._process.late:
            return out_of_time(self._limits, self._path)
        if status == EXIT_MEMORY:
            return out_of_memory(self._limits, self._path)
        return self._crash(_cause(status))

    def _crash(self, why: str) -> UserError:
        return UserError(
            f"torch crashed while it opened the file ({why})",
            where(self._path),
            "It is damaged or hostile: save it again, and do not use it if you do not know where "
            "it comes from",
        )


def _decoded(kind: bytes, header: Any, body: bytes) -> Graph | Exception:
    if kind == b"G":
        return decode_graph(header, body)
    if kind == b"U":
        return decode_error(header)
    if kind != b"F" or not isinstance(header, list) or len(header) != 4:
        raise MalformedMessage("there is no such message")
    name, text, place, trace = map(str, header)
    defect = ChildError(f"{name}: {text} ({place})")
    defect.__cause__ = _ChildTraceback(trace)
    return defect


def _signal(name: str) -> int:
    """The number of a signal; 0 on a system that does not have it."""
    return int(getattr(signal, name, 0))


def _cause(status: int) -> str:
    """How a process ended, from its exit status, which is negative for a signal."""
    if status >= 0:
        return f"exit status {status}"
    with suppress(ValueError):
        return str(signal.strsignal(-status) or signal.Signals(-status).name).lower()
    return f"signal {-status}"


class _Process(subprocess.Popen[bytes]):
    """A process of `child_main`; `late` if it was ended because it took too long."""

    late = False

    def end(self, *, late: bool = False) -> None:
        """Ends the process and its child."""
        self.late = late
        with suppress(ProcessLookupError):
            if os.name == "posix":
                os.killpg(self.pid, signal.SIGKILL)
            else:
                self.kill()
        self.wait()


class Server:
    """Starts the process that opens files when it is first needed, and again after it has ended.

    Args:
        fork: whether the process forks a child for each file; else it opens one file, and ends.
    """

    def __init__(self, *, fork: bool = CAN_FORK) -> None:
        self._fork = fork
        self._process: _Process | None = None
        self._owner = 0
        self._lock = threading.Lock()

    def start(self) -> None:
        """Starts the process, if there is none, so that it imports torch meanwhile."""
        with self._lock:
            self._running()

    @contextmanager
    def running(self, limits: OpenLimits) -> Iterator[_Process]:
        """The process, for one request. It ends if the request does not end as it should."""
        with self._lock:
            process = self._running()
            longest = limits.wall_seconds + _GRACE_SECONDS
            timer = threading.Timer(longest, process.end, kwargs={"late": True})
            timer.daemon = True
            timer.start()
            try:
                yield process
                if not self._fork:
                    process.wait()
            except UserError:
                if not self._fork:
                    process.end()
                raise
            except BaseException:  # such as Ctrl-C
                process.end()
                raise
            finally:
                timer.cancel()

    def stop(self) -> None:
        """Ends the process and its child."""
        if self._process is not None and self._owner == os.getpid():
            self._process.end()

    def _running(self) -> _Process:
        """The process. One that was inherited by a fork of its owner is not used."""
        process = self._process
        if process is None or self._owner != os.getpid() or process.poll() is not None:
            process = self._process = _start(fork=self._fork)
            self._owner = os.getpid()
        return process


def _start(*, fork: bool) -> _Process:
    """The process, in a session of its own: Ctrl-C reaches its caller, which ends it."""
    return _Process(
        [sys.executable, "-c", _PROGRAM.format(path=sys.path, fork=fork)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )


_SERVER = Server()
atexit.register(_SERVER.stop)


def start_early() -> None:
    """Starts the process that opens files, so that it imports torch while the caller does more."""
    _SERVER.start()
