"""Prepares a checkout: Debian packages, the Python environment, an isolated PlatformIO core folder.

Standard library only. If everything is installed, it does nothing and needs no network.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
TOOLS = ROOT / ".tools"
STAMP = TOOLS / "setup.stamp"

# Command -> the Debian package that contains it.
COMMANDS = {
    "cc": "gcc",
    "c++": "g++",
    "clang": "clang",
    "arm-none-eabi-gcc": "gcc-arm-none-eabi",
    "qemu-system-arm": "qemu-system-arm",
    "cmake": "cmake",
    "cppcheck": "cppcheck",
    "clang-tidy": "clang-tidy",
}
ARM_LIBRARIES = {
    "libc.a": "libnewlib-arm-none-eabi",
    "libstdc++.a": "libstdc++-arm-none-eabi-newlib",
}
PYTHON_MODULES = {"ensurepip": "python3-venv"}

sys.path.insert(0, str(ROOT / "platformio_plugin"))
from deepcompress.build import OLDEST_PYTHON  # noqa: E402 - needs the path

# The Debian release that has Python `OLDEST_PYTHON`, and the servers that have had it.
OLDEST_SUITE = "bullseye"
SERVERS = ("http://deb.debian.org/debian", "http://archive.debian.org/debian")


def main() -> int:
    """Runs each step in order. Returns 0, or 1 after printing what to do."""
    if sys.version_info < (3, 10):  # noqa: UP036 - the python3 found may be any
        complain(f"Python 3.10 or newer is needed; python3 here is {sys.version.split()[0]}.")
        return 1
    install_debian_packages()
    if STAMP.is_file() and STAMP.read_text() == fingerprint() and PYTHON.exists():
        return 0
    if not (install_python_packages() and install_platformio_core()):
        return 1
    install_oldest_python()
    STAMP.write_text(fingerprint())
    show("done")
    return 0


def show(text: str) -> None:
    print(f"setup: {text}", flush=True)


def complain(text: str) -> None:
    print(f"setup: error: {text}", file=sys.stderr, flush=True)


def fingerprint() -> str:
    """Changes if pip has work to do, also after this folder has moved: .venv links to it."""
    files = (ROOT / "pyproject.toml", Path(__file__))
    content = b"".join(file.read_bytes() for file in files) + os.fsencode(ROOT)
    return hashlib.sha256(content).hexdigest()


def install_debian_packages() -> None:
    """Installs what is missing by apt if this is root on Debian; otherwise prints how to."""
    missing = missing_packages()
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        show(
            f"not found: {', '.join(missing)}. On Debian or Ubuntu: sudo apt-get install "
            f"{' '.join(missing)}; elsewhere, the same tools by their names there. The virtual "
            "boards need an Arm compiler with newlib, and QEMU; the board virtual_native needs a "
            "C and C++ compiler. Continuing without."
        )
        return
    show(f"apt-get install {' '.join(missing)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
    for command in (["apt-get", "update", "-qq"], install):
        subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
    if missing := missing_packages():
        complain(f"apt-get did not install {', '.join(missing)}; continuing without.")


def missing_packages() -> list[str]:
    return [
        *(package for name, package in COMMANDS.items() if not shutil.which(name)),
        *(package for name, package in ARM_LIBRARIES.items() if not has_arm_library(name)),
        *(p for name, p in PYTHON_MODULES.items() if not importlib.util.find_spec(name)),
    ]


def has_arm_library(name: str) -> bool:
    if not shutil.which("arm-none-eabi-gcc"):
        return False
    command = ["arm-none-eabi-gcc", f"-print-file-name={name}"]
    answer = subprocess.run(command, capture_output=True, text=True).stdout
    return Path(answer.strip()).is_absolute()  # gcc prints the bare name of what it lacks


def install_python_packages() -> bool:
    """Installs this project and its development packages into .venv; False after an error."""
    show("Python packages into .venv (torch is large: a few minutes)")
    venv = [sys.executable, "-m", "venv", str(VENV)]
    if subprocess.run(venv, stdin=subprocess.DEVNULL).returncode:
        complain("python3 -m venv failed. On Debian: sudo apt-get install python3-venv")
        return False
    pip = [str(PYTHON), "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    install = subprocess.Popen(
        [*pip, "--editable", f"{ROOT}[dev]"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in install.stdout or ():
        if line.lstrip().startswith(("Downloading ", "Installing collected")):
            show(line.strip()[:100])
    if install.wait():
        complain("pip could not install the packages of pyproject.toml; its own error is above.")
        return False
    return True


def install_platformio_core() -> bool:
    """Makes PlatformIO's package tool-scons from PyPI's SCons, so that no registry is needed."""
    question = "from platformio import dependencies as d; print(d.get_core_dependencies()['{}'])"
    name = "tool-scons"
    asked = subprocess.run(
        [str(PYTHON), "-c", question.format(name)], capture_output=True, text=True
    )
    if asked.returncode:
        complain(f"PlatformIO in .venv does not start: {asked.stderr.strip()}")
        return False
    facts = {"name": name, "version": asked.stdout.strip().lstrip("~^=")}
    show(f"PlatformIO core folder .tools/platformio with {name} {facts['version']}")
    spec = {"owner": "platformio", "id": None, "name": name, "requirements": None, "uri": None}
    package = TOOLS / "platformio" / "packages" / name
    package.mkdir(parents=True, exist_ok=True)
    (package / "scons.py").write_text("from SCons.Script import main\n\nmain()\n")
    (package / "package.json").write_text(json.dumps({**facts, "system": "*"}))
    (package / ".piopm").write_text(json.dumps({**facts, "type": "tool", "spec": spec}))
    # PlatformIO's first start prints a long greeting: start it now, and discard the output.
    subprocess.run([ROOT / "tools" / "pio", "settings", "get"], capture_output=True)
    return True


def install_oldest_python() -> bool:
    """Unpacks the oldest supported Python from an older Debian into .tools; nothing is installed.

    Returns False after printing why it could not: one group of tests is then skipped.
    """
    python = f"python{OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]}"
    folder = TOOLS / python
    if runs(python) or (folder / "usr" / "bin" / python).exists():
        return True
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        show(f"{python} not found: the tests of the oldest supported Python are skipped")
        return False
    show(f"{python} of Debian {OLDEST_SUITE} into .tools/{python}, for tests")
    packages = [f"{python}-minimal", f"lib{python}-minimal", f"lib{python}-stdlib"]
    with tempfile.TemporaryDirectory() as temporary:
        if not any(download_debian(packages, server, Path(temporary)) for server in SERVERS):
            show(f"{python} could not be downloaded: its tests are skipped")
            return False
        for package in Path(temporary).glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
    return True


def runs(python: str) -> bool:
    """Whether a Python of this name starts; pyenv has scripts of such names that only fail."""
    found = shutil.which(python)
    return (
        found is not None and not subprocess.run([found, "-c", ""], capture_output=True).returncode
    )


def download_debian(packages: list[str], server: str, folder: Path) -> bool:
    """Downloads packages of `OLDEST_SUITE` into a folder, by an apt with lists of its own."""
    keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
    sources = folder / "sources.list"
    sources.write_text(f"deb [signed-by={keys}] {server} {OLDEST_SUITE} main\n")
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    settings = {
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "root",
    }
    apt = ["apt-get", "-qq", *(f"-o{key}={value}" for key, value in settings.items())]
    return all(
        subprocess.run([*apt, *command], cwd=folder, stdin=subprocess.DEVNULL).returncode == 0
        for command in (["update"], ["download", *packages])
    )


if __name__ == "__main__":
    sys.exit(main())
