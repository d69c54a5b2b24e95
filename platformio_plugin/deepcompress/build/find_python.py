"""Finds a Python that has torch. The build never installs one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from deepcompress.errors import UserError, setting
from deepcompress.versions import NEEDED, OLDEST_PYTHON, requirement

# Run by the interpreter that is examined. Prints the requirements that it does not meet.
_PROBE = """
import sys
sys.version_info >= OLDEST or sys.exit(1)
import importlib.metadata, importlib.util, re

def numbers(version):
    return [int(number) for number in re.findall("[0-9]+", version)[:2]]

def lacks(requirement):
    name, _, oldest = requirement.partition(">=")
    if not importlib.util.find_spec(name):
        return True
    try:
        return numbers(importlib.metadata.version(name)) < numbers(oldest)
    except importlib.metadata.PackageNotFoundError:
        return False

print([requirement for requirement in sys.argv[1:] if lacks(requirement)])
""".replace("OLDEST", str(OLDEST_PYTHON))
_PYTHON = f"a Python of version {'.'.join(map(str, OLDEST_PYTHON))} or newer"
# These make an interpreter look for modules in the folders of another one.
_LEAKS = ("PYTHONPATH", "PYTHONHOME", "PYTHONEXEPATH", "__PYVENV_LAUNCHER__")


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without variables that are meant for this interpreter."""
    return {key: value for key, value in environment.items() if key not in _LEAKS}


def find_python(
    named: str | None, *, project: Path, own: str, environment: Mapping[str, str]
) -> str:
    """The first interpreter that has the compiler's packages.

    Args:
        named: the value of the option `python`; if set, no other one is tried.
        own: the build tool's interpreter.

    Raises:
        UserError: there is none; the text has the command that makes one.
    """
    if named:
        return _checked(named, f"option {setting('python')}")
    if environment.get("DEEPCOMPRESS_PYTHON"):
        return _checked(environment["DEEPCOMPRESS_PYTHON"], "variable DEEPCOMPRESS_PYTHON")
    tried = []
    for candidate in _candidates(project, own, environment):
        lacking = missing(candidate)
        if lacking == []:
            return candidate
        tried.append(f"{candidate} (lacks {', '.join(lacking or [_PYTHON])})")
    raise UserError(
        f"no Python with torch was found; tried {', '.join(tried)}",
        "the model's compiler",
        "In the project's folder: python3 -m venv .venv && .venv/bin/pip install torch numpy "
        f"jinja2 (or name a Python that has them in the option {setting('python')}). A build whose "
        "model has not changed needs none",
    )


def _candidates(project: Path, own: str, environment: Mapping[str, str]) -> list[str]:
    folders = [environment.get("VIRTUAL_ENV"), environment.get("CONDA_PREFIX")]
    folders += [str(project / ".venv"), str(project / "venv")]
    inside = ("Scripts/python.exe", "python.exe") if os.name == "nt" else ("bin/python",)
    places = [Path(folder) / python for folder in folders if folder for python in inside]
    on_path = [shutil.which(name, path=environment.get("PATH")) for name in ("python3", "python")]
    found = [own, *(str(place) for place in places if place.is_file()), *on_path]
    return list(dict.fromkeys(path for path in found if path))


def _checked(python: str, where: str) -> str:
    lacking = missing(python)
    if lacking is None:
        raise UserError(
            f"{python} does not start as {_PYTHON}",
            where,
            "Name the executable of one that has torch",
        )
    if lacking:
        raise UserError(
            f"{python} has no {', '.join(lacking)}",
            where,
            f"Install it: {python} -m pip install --upgrade {' '.join(map(repr, lacking))}",
        )
    return python


def missing(python: str) -> list[str] | None:
    """What an interpreter lacks, such as "torch>=2.6"; None if it does not start or is too old."""
    requirements = {name: requirement(name) for name in NEEDED}
    command = [python, "-c", _PROBE, *requirements.values()]
    try:
        done = subprocess.run(
            command,
            env=clean_environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode:
        return None
    return [text for name, text in requirements.items() if re.search(rf"'{name}\b", done.stdout)]
