"""The process that opens model files, for `child_process`.

On Linux it is a server: it imports torch once and forks a child for each file, so that a file that
crashes torch or fills the memory ends its child only. The server never reads a model file. On other
systems, where a process that has imported torch cannot fork, the process opens one file itself, and
the caller starts another one for the next file.

    stdin     one request per line, JSON; its end is the end of the caller, and ends everything
    stdout    messages of `graph_codec`; D: bytes from the child, X: how the child ended

The child writes messages as well: L: a layer, G: the graph, U: a UserError, F: a defect. They
travel in the bytes of the D messages, so a message that a dying child leaves unfinished does no
harm.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from deepcompress.errors import UserError, reason
from deepcompress.frontend.file_errors import ran_out_of_memory
from deepcompress.frontend.graph_codec import (
    encode_error,
    encode_graph,
    encode_layer,
    write_message,
)
from deepcompress.frontend.open_graph import open_graph
from deepcompress.frontend.open_limits import OpenLimits, limits_of, out_of_memory
from deepcompress.options import Options, Target

CAN_FORK = sys.platform == "linux"

# The exit status of a process that has used too much memory.
EXIT_MEMORY = 77

# What torch imports only when it opens a file of a kind, which takes seconds: the server imports
# it before it forks. The keys are names of front ends.
_NEEDED_MODULES = {
    "exported program": ("torch.export.pt2_archive._package",),
    "TorchScript": ("torch.export._trace", "torch._export.converter"),
    "pickle": ("torch.export._trace",),
}

_CHUNK = 1 << 20
_WATCH_SECONDS = 0.05


def main(*, fork: bool = CAN_FORK) -> int:
    """Serves the requests of stdin until it ends, or one request if it may not fork."""
    requests, answers = _take_standard_streams()
    importlib.import_module("torch")
    while line := _read_line(requests):
        request = json.loads(line)
        _import_needed(request["kind"])
        if fork:
            _serve(request, requests.fileno(), answers)
            continue
        _limit(limits_of(options_of(request)))
        open_for(request, lambda data: write_message(answers.write, b"D", None, data))
        write_message(answers.write, b"X", [False, 0], b"")
        break
    return 0


def _take_standard_streams() -> tuple[BinaryIO, BinaryIO]:
    """Standard input and output, which are replaced: what a user's file prints goes to stderr."""
    requests = os.fdopen(os.dup(0), "rb", buffering=0)
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    return requests, answers


def _read_line(file: BinaryIO) -> bytes:
    """One line, read byte by byte: nothing of the next request may stay in a buffer."""
    line = bytearray()
    while (byte := file.read(1)) and byte != b"\n":
        line += byte
    return bytes(line)


def _import_needed(kind: str) -> None:
    """Imports what opening a file of this kind needs. A release of torch may lack a module."""
    for name in _NEEDED_MODULES.get(kind, ()):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def _serve(request: dict[str, Any], requests: int, answers: BinaryIO) -> None:
    """Forks a child that opens the file, and passes on what it writes until it ends."""
    limits = limits_of(options_of(request))
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reading)
            answers.close()
            _run_child(request, limits, writing)
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    late = not _relay(reading, requests, answers, time.monotonic() + limits.wall_seconds)
    if late:
        os.kill(pid, signal.SIGKILL)
    os.close(reading)
    _, status = os.waitpid(pid, 0)
    ending = [late, os.waitstatus_to_exitcode(status)]
    write_message(answers.write, b"X", ending, b"")


def _relay(reading: int, requests: int, answers: BinaryIO, deadline: float) -> bool:
    """Passes on the child's bytes until it closes its pipe; False if the deadline passes first.

    A request or its end can only come from a caller that no longer waits: then this process ends,
    and with it the child.
    """
    while True:
        ready, _, _ = select.select(
            [reading, requests], [], [], max(deadline - time.monotonic(), 0)
        )
        if requests in ready:
            os._exit(1)
        if not ready:
            return False
        chunk = os.read(reading, _CHUNK)
        if not chunk:
            return True
        write_message(answers.write, b"D", None, chunk)


def _run_child(request: dict[str, Any], limits: OpenLimits, writing: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller ends the child
    _die_with_parent()
    if not _runs_users_code(request):
        _silence()
    _limit(limits)
    with os.fdopen(writing, "wb") as pipe:
        open_for(request, pipe.write)


def _die_with_parent() -> None:
    """Ends this process when the server ends, also while it computes in C."""
    import ctypes

    set_death_signal = 1
    ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)


def _runs_users_code(request: dict[str, Any]) -> bool:
    return bool(request["options"]["architecture"] or request["options"]["trust_pickle"])


def _silence() -> None:
    """Discards what torch's C++ prints when it crashes; the caller explains the crash."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)


def _limit(limits: OpenLimits) -> None:
    """Bounds this process's time and memory, torch itself excluded.

    On Linux, allocations beyond the limit fail. On macOS a thread ends the process. Windows has no
    such limits; there the caller bounds the time.
    """
    try:
        import resource
    except ImportError:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + limits.seconds
    _lower(resource.RLIMIT_CPU, seconds)
    _lower(resource.RLIMIT_CORE, 0)
    if sys.platform == "linux":
        _lower(resource.RLIMIT_DATA, _data_bytes() + limits.memory)
    parent, unit = os.getppid(), 1 if sys.platform == "darwin" else 1024
    most = (used.ru_maxrss * unit + limits.memory) // unit
    watcher = threading.Thread(target=_watch, args=(parent, most), daemon=True)
    watcher.start()


def _lower(limit: int, value: int) -> None:
    import resource

    _, hard = resource.getrlimit(limit)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(limit, (value, hard))


def _data_bytes() -> int:
    """Bytes of this process that RLIMIT_DATA counts."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmData:")).split()[1])


def _watch(parent: int, most: int) -> None:
    """Ends this process when its parent has ended, or when it has used too much memory."""
    import resource

    while True:
        if os.getppid() != parent:
            os._exit(1)
        if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > most:
            os._exit(EXIT_MEMORY)
        time.sleep(_WATCH_SECONDS)


def open_for(request: dict[str, Any], write: Callable[[bytes], object]) -> None:
    """Opens the file of a request, and writes the messages L and then G, U or F."""
    options, path = options_of(request), Path(request["path"])
    try:
        _resume(request)
        graph = open_graph(
            path,
            options,
            name=request["name"],
            layer=lambda layer: write_message(write, b"L", encode_layer(layer), b""),
        )
        header, body = encode_graph(graph)
        write_message(write, b"G", header, body)
    except BaseException as error:  # whatever it is, the caller has to know
        if ran_out_of_memory(error):
            error = out_of_memory(limits_of(options), path)
        if isinstance(error, UserError):
            write_message(write, b"U", encode_error(error), b"")
        else:
            write_message(write, b"F", _defect(error), b"")


def _resume(request: dict[str, Any]) -> None:
    """Continues where the caller is: its folder, environment and search path of modules."""
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.path[:] = request["search_path"]


def _defect(error: BaseException) -> list[str]:
    """The type and text of an exception, where it was raised, and its traceback."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    text = io.StringIO()
    traceback.print_exception(error, file=text)
    place = f"{Path(frame.filename).name}:{frame.lineno}"
    return [type(error).__name__, reason(error), place, text.getvalue()[-9000:]]


def options_of(request: dict[str, Any]) -> Options:
    """The options that a front end reads."""
    values = request["options"]
    shape = values["input_shape"]
    return replace(Options(target=Target()), **{**values, "input_shape": shape and tuple(shape)})


if __name__ == "__main__":
    sys.exit(main())
