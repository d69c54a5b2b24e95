"""The project that the parts of integrity.py build: a small network, and `pio`."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "lenet5_mnist"
OPTIONS = {
    "input_mean": "0.1307",
    "input_std": "0.3081",
    "self_test": "1",
}
ENVIRONMENTS = ("one", "two", "three", "four")
SKETCH = """\
#include <DeepCompress.h>
#include <stdio.h>
DeepCompress::Lenet5 network;
int main() {
    printf("%s\\n", network.selfTest() == DC_OK ? "passed" : "failed");
}
"""

# The command line, with a hook that kills the process before an operation of the file system.
KILL_AT = """
import os, signal, sys
left, writing = int(sys.argv.pop(1)), False
def hook(event, arguments):
    global left, writing
    if event == "tempfile.mkdtemp":
        writing = writing or ".swapping-" in arguments[0] or ".writing-" in arguments[0]
    changes = ("os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "os.utime", "open")
    if writing and left and event in (*changes, "ctypes.dlsym"):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
from deepcompress.cli.main import main
sys.exit(main(sys.argv[1:]))
"""

Progress = Callable[[str], None]
Row = tuple[str, int, int]  # what was tried, how often, how often it was right


class Project:
    """A PlatformIO project on the PC, with the real compiler."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("src", "models", "data"):
            (folder / name).mkdir(parents=True)
        shutil.copy(EXAMPLE / "models" / "lenet5.pt", folder / "models")
        shutil.copy(EXAMPLE / "data" / "calibration.npz", folder / "data")
        (folder / "src" / "main.cpp").write_text(SKETCH)
        self.configure("0.5")
        self._environment = {
            **os.environ,
            "PLATFORMIO_CORE_DIR": str(folder / "core"),
            "PLATFORMIO_PACKAGES_DIR": str(ROOT / ".tools" / "platformio" / "packages"),
            "PLATFORMIO_DISABLE_UPGRADE_CHECK": "true",
            "PLATFORMIO_SETTING_ENABLE_TELEMETRY": "no",
            "PYTHONPATH": str(ROOT / "platformio_plugin"),
        }

    def configure(self, sparsity: str) -> None:
        options = {
            "model": "models/lenet5.pt",
            "calibration": "data/calibration.npz",
            "sparsity": sparsity,
            "python": sys.executable,
            **OPTIONS,
        }
        lines = [f"custom_deepcompress_{name} = {text}" for name, text in options.items()]
        head = f"[env]\nplatform = symlink://{ROOT}/platforms/virtual\nboard = virtual_native\n"
        sections = [f"[env:{name}]" for name in ENVIRONMENTS]
        text = head + f"lib_deps = symlink://{ROOT}\n" + "\n".join([*lines, *sections]) + "\n"
        (self.folder / "platformio.ini").write_text(text)

    def start(self, environment: str) -> subprocess.Popen[str]:
        """Starts `pio run`, which leads a group of processes."""
        command = [sys.executable, "-m", "platformio", "run", "-e", environment]
        return self._start(command)

    def start_compile(
        self, output: Path, sparsity: str, *, kill_at: int = 0
    ) -> subprocess.Popen[str]:
        """Starts `deepcompress compile -o`, which kills itself at that operation of its write."""
        command = [sys.executable, "-c", KILL_AT, str(kill_at), "compile", "models/lenet5.pt"]
        command += ["-o", str(output), "--calibration=data/calibration.npz", "--cpu=cortex-m4"]
        command += [f"--{name.replace('_', '-')}={text}" for name, text in OPTIONS.items()]
        return self._start([*command, f"--sparsity={sparsity}"])

    def _start(self, command: list[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def store(self) -> Path:
        return self.folder / ".pio" / "deepcompress"

    def built(self, environment: str) -> tuple[dict[str, bytes], str]:
        """The generated files, and what the firmware prints."""
        build = self.folder / ".pio" / "build" / environment
        ran = subprocess.run([build / "program"], capture_output=True, text=True)
        return contents(build / "deepcompress" / "generated"), ran.stdout.strip()

    def processes(self) -> list[int]:
        """Processes whose current folder is the project's, such as an orphaned compiler."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and (entry / "cwd").resolve() == self.folder:
                    found.append(int(entry.name))
            except OSError:
                continue  # it has ended, or is of another user
        return found

    def wait_for_orphans(self, seconds: float = 30) -> bool:
        """Whether no process of a killed build is left after some seconds."""
        end = time.monotonic() + seconds
        while self.processes() and time.monotonic() < end:
            time.sleep(0.05)
        return not self.processes()


def contents(folder: Path) -> dict[str, bytes]:
    """Name -> content of each file of a folder, without those of hidden folders."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    return {name: path.read_bytes() for name, path in names.items() if not name.startswith(".")}


@contextmanager
def project() -> Iterator[Project]:
    """A project in a temporary folder, built once, so that PlatformIO's own first steps are done.

    Raises:
        RuntimeError: the build fails.
    """
    with tempfile.TemporaryDirectory(prefix="integrity-") as folder:
        made = Project(Path(folder).resolve() / "project")
        for name in ENVIRONMENTS:
            finish(made.start(name))
        yield made


def finish(process: subprocess.Popen[str]) -> str:
    """Waits for a process that must succeed; returns its output."""
    output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(process.args)} failed:\n{output}")  # type: ignore[arg-type]
    return output


def kill(process: subprocess.Popen[str], chance: random.Random) -> str:
    """Kills the process alone, as the system does if memory is short, or its whole group."""
    alone = chance.random() < 0.5
    with suppress(ProcessLookupError):  # it has just ended
        (os.kill if alone else os.killpg)(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout:
        process.stdout.close()
    return "alone" if alone else "with its children"
