"""BakeNN's wheel from PyPI, unpacked in the build folder; it is not part of this repository."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from measuring import BUILD

PACKAGE = "bakenn==1.0.0"


class Missing(Exception):
    """A peer that is not available; the text is the reason."""


def bakenn_wheel() -> Path:
    """The folder with the unpacked wheel. Raises Missing if pip cannot download it."""
    folder = BUILD / "bakenn"
    if not (folder / "bakenn" / "__init__.py").is_file():
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
        command = [*pip, "--disable-pip-version-check", "--dest", BUILD, PACKAGE]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            lines = done.stderr.strip().splitlines()
            raise Missing(
                f"pip cannot fetch {PACKAGE}: {lines[-1] if lines else 'no reason given'}"
            )
        (wheel,) = BUILD.glob("bakenn-*.whl")
        with zipfile.ZipFile(wheel) as content:
            content.extractall(folder)
    return folder
