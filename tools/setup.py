"""Prepares a checkout: Debian packages, the Python environment, an isolated PlatformIO core folder.

Standard library only. Does nothing, and needs no network, where all is there already.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
CORE = ROOT / ".tools" / "platformio"
STAMP = VENV / "deepcompress.stamp"

# What must be on the PATH (or, with a slash, on the disk) -> the Debian package that brings it.
DEBIAN = {
    "gcc": "gcc",
    "g++": "g++",
    "clang": "clang",
    "arm-none-eabi-gcc": "gcc-arm-none-eabi",
    "/usr/lib/arm-none-eabi/newlib/libc.a": "libnewlib-arm-none-eabi",
    "/usr/include/newlib/c++": "libstdc++-arm-none-eabi-newlib",
    "qemu-system-arm": "qemu-system-arm",
}


def main() -> int:
    """Each step in order. 0, or 1 after a paragraph that says what to do."""
    install_debian_packages()
    return install_python_packages() or install_platformio_core()


def tell(text: str) -> None:
    print(f"setup: {text}", flush=True)


def complain(text: str) -> None:
    print(f"setup: error: {text}", file=sys.stderr, flush=True)


def install_debian_packages() -> None:
    """By apt where this is root on Debian; else one paragraph, and on with what is there."""
    missing = missing_packages()
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        complain(
            f"not found: {', '.join(missing)}. Virtual boards need an Arm compiler and QEMU, the "
            "PC's own board a C compiler. On Debian or Ubuntu: sudo apt-get install "
            f"{' '.join(missing)}; elsewhere install arm-none-eabi-gcc with newlib, and "
            "qemu-system-arm. Going on with what is there."
        )
        return
    tell(f"apt-get install {' '.join(missing)}")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
    for command in (["apt-get", "update", "-qq"], install):
        subprocess.run(command, env=quiet, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    if missing_packages():
        complain(f"apt-get could not install {', '.join(missing_packages())}; going on without.")


def missing_packages() -> list[str]:
    return [
        package
        for needed, package in DEBIAN.items()
        if not (Path(needed).exists() if "/" in needed else shutil.which(needed))
    ]


def install_python_packages() -> int:
    """The project and its development packages into .venv, once for each pyproject.toml."""
    wanted = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    if STAMP.is_file() and STAMP.read_text() == wanted:
        return 0
    tell("Python packages into .venv (torch is large: a few minutes)")
    if not PYTHON.exists() and run([sys.executable, "-m", "venv", str(VENV)]):
        complain("python3 -m venv failed. On Debian: apt-get install python3-venv, then again.")
        return 1
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if run([*pip, "--no-input", "--editable", f"{ROOT}[dev]"]):
        complain("pip could not install the packages of pyproject.toml; see its message above.")
        return 1
    STAMP.write_text(wanted)
    return 0


def run(command: list[str]) -> int:
    return subprocess.run(command, stdin=subprocess.DEVNULL).returncode


def install_platformio_core() -> int:
    """PlatformIO's package tool-scons, made of PyPI's SCons, so that no registry is asked."""
    package = CORE / "packages" / "tool-scons"
    ask = "from platformio.dependencies import get_core_dependencies as d; print(d()['tool-scons'])"
    state = package / ".piopm"
    stamp = STAMP.read_text()
    if (
        state.is_file()
        and (package / "stamp").is_file()
        and (package / "stamp").read_text() == stamp
    ):
        return 0
    done = subprocess.run([str(PYTHON), "-c", ask], capture_output=True, text=True)
    if done.returncode:
        complain(f"PlatformIO in .venv does not start: {done.stderr.strip().splitlines()[-1]}")
        return 1
    version = done.stdout.strip().lstrip("~^=")
    tell(f"PlatformIO core folder {CORE.relative_to(ROOT)} with tool-scons {version}")
    package.mkdir(parents=True, exist_ok=True)
    (package / "scons.py").write_text("from SCons.Script import main\n\nmain()\n")
    facts = {"name": "tool-scons", "version": version}
    (package / "package.json").write_text(json.dumps({**facts, "system": "*"}))
    spec = {
        "owner": "platformio",
        "id": None,
        "name": "tool-scons",
        "requirements": None,
        "uri": None,
    }
    state.write_text(json.dumps({**facts, "type": "tool", "spec": spec}))
    (package / "stamp").write_text(stamp)
    return 0


if __name__ == "__main__":
    sys.exit(main())
