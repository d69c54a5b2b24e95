"""What a compilation read in addition to the files that the options name.

The compiler writes it next to the generated files: Python modules that a user's file imports, files
and folders that its functions read, and the versions of torch, numpy and jinja2. A later build uses
the result only if all of it is the same. That is checked without starting a Python.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from deepcompress.build.cache import Unusable, digest_of
from deepcompress.versions import NEEDED

FILE = "inputs.json"
# Set by the build: the file to write.
VARIABLE = "DEEPCOMPRESS_INPUTS"

ABSENT = None  # in place of a digest: the file does not exist
CHANGED = ""  # it changed while it was read, so no content is that of the result


def write(path: Path, files: Mapping[str, str | None]) -> None:
    """Writes the record of a compilation, in the compiler's process.

    Args:
        files: path, absolute or relative to the project -> digest, ABSENT or CHANGED.
    """
    sites = {str(site) for name in NEEDED for site in _site_of(name)}
    packages = {site: _versions(Path(site)) for site in sorted(sites)}
    path.write_text(json.dumps({"files": files, "packages": packages}, indent=1), encoding="utf-8")


def check(contents: Mapping[str, bytes], project: Path, python: Path | None) -> None:
    """Raises Unusable if something that was read is no longer the same.

    Args:
        contents: the files of a compiled model; without a record, nothing is checked.
        project: the folder of relative paths.
        python: the interpreter that an option names, if one does.
    """
    if FILE not in contents:
        return
    record = json.loads(contents[FILE])
    for name, digest in record["files"].items():
        if _digest_or_absent(project / name) != digest:
            raise Unusable(f"was compiled before {name} changed")
    compiled_with = {k: v for versions in record["packages"].values() for k, v in versions.items()}
    for site in _sites_of(python) or [Path(site) for site in record["packages"]]:
        for package, version in _versions(site).items():
            old = compiled_with.get(package, version)
            if old != version:
                raise Unusable(f"was compiled with {package} {old}, and {version} is installed")


def paths(contents: Mapping[str, bytes], project: Path) -> list[Path]:
    """The files and folders of the record that exist."""
    names: Iterable[str] = json.loads(contents[FILE])["files"] if FILE in contents else ()
    return [project / name for name in names if (project / name).exists()]


def _digest_or_absent(path: Path) -> str | None:
    try:
        return digest_of(path)
    except FileNotFoundError:
        return ABSENT
    except OSError:
        return CHANGED


def _site_of(package: str) -> list[Path]:
    """The folder in which a package is installed, in this interpreter."""
    spec = importlib.util.find_spec(package)
    return [Path(spec.origin).parent.parent] if spec and spec.origin else []


def _sites_of(python: Path | None) -> list[Path]:
    """The folders of packages of another interpreter, in a virtual environment."""
    if python is None:
        return []
    root = python.parent.parent
    return [*root.glob("lib/python3*/site-packages"), *root.glob("Lib/site-packages")]


def _versions(site: Path) -> dict[str, str]:
    """Package -> version, by the names of the folders in which installers record them."""
    try:
        names = [path.name for path in site.iterdir()]
    except OSError:  # the interpreter no longer exists: nothing newer is known
        return {}
    found = {}
    for name in names:
        package, _, rest = name.partition("-")
        if package in NEEDED and name.endswith((".dist-info", ".egg-info")):
            found[package] = rest.rpartition(".")[0]
    return found
