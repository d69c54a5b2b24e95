"""Projects that use the library as a user does: a platformio.ini, a sketch, and `pio`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLATFORM = f"symlink://{ROOT / 'platforms' / 'virtual'}"
SKETCH = """\
#include <DeepCompress.h>
#include <stdio.h>
int main() { printf("value %d\\n", net_value()); }
"""


def copy_library(folder: Path) -> None:
    """The parts of the library that a build reads."""
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "library.json", folder)
    for part in ("include", "src", "platformio_plugin"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / part, folder / part, ignore=ignored)


class Project:
    """A user's project in `folder`, whose Python with torch is the fake compiler."""

    def __init__(self, folder: Path, pio: Callable, library: Path) -> None:
        self.folder, self._pio = folder, pio
        self.fake = folder / "fake"
        for name in ("models", "src", "fake"):
            (folder / name).mkdir(parents=True)
        shutil.copy(Path(__file__).with_name("fake_compiler.py"), self.fake)
        self.python = self.fake / "python"
        self.python.write_text(
            f'#!/bin/sh\nexec "{sys.executable}" "${{0%/*}}/fake_compiler.py" "$@"\n'
        )
        self.python.chmod(0o755)
        self.mood("well")
        self.write("models/net.pt", "7")
        self.write("src/main.cpp", SKETCH)
        self.library = f"symlink://{library}"
        self.configure("custom_deepcompress_model = models/net.pt")

    def write(self, name: str, text: str) -> None:
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(text)

    def mood(self, mood: str) -> None:
        """Sets how the fake compiler fails: see its docstring."""
        (self.fake / "mood").write_text(mood)

    def configure(self, text: str, *, sections: str = "[env:native]", lib_deps: str | None = None):
        """Writes platformio.ini: `text` is for all environments, which are in `sections`."""
        deps = self.library if lib_deps is None else lib_deps
        self.write(
            "platformio.ini",
            f"[env]\nplatform = {PLATFORM}\nboard = virtual_native\nlib_deps = {deps}\n"
            f"custom_deepcompress_python = fake/python\n{text}\n{sections}\n",
        )

    def pio(self, *arguments: str, **env: str) -> subprocess.CompletedProcess:
        """Runs pio in the project; Python may write bytecode anywhere."""
        return self._pio(*arguments, cwd=self.folder, env={"PYTHONDONTWRITEBYTECODE": "", **env})

    def build(self, *arguments: str) -> str:
        """Runs `pio run`, which must succeed; returns its standard output."""
        built = self.pio("run", *arguments)
        assert built.returncode == 0, built.stdout + built.stderr
        return built.stdout

    def fail(self, *arguments: str) -> str:
        """Runs `pio run`, which must fail before it compiles; returns standard error, unwrapped."""
        built = self.pio("run", *arguments)
        assert built.returncode != 0, built.stdout
        assert "Compiling" not in built.stdout
        assert "Traceback" not in built.stderr
        return " ".join(built.stderr.split())

    def value(self, environment: str = "native") -> str:
        """The firmware's output."""
        program = self.folder / ".pio" / "build" / environment / "program"
        return subprocess.run([program], capture_output=True, text=True).stdout.strip()

    def calls(self) -> list[list[str]]:
        """The arguments of each run of the compiler so far."""
        notes = self.fake / "calls"
        return (
            [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []
        )

    def generated(self, environment: str = "native") -> Path:
        return self.folder / ".pio" / "build" / environment / "deepcompress" / "generated"

    def cache(self) -> Path:
        return self.folder / ".pio" / "deepcompress"
