"""Compiles one model of deepcompress_model() to C in the build folder of a Zephyr application.

West's Python runs this; see deepcompress/build/__init__.py for what it may import. Also writes a
depfile: the build tool runs this again if and only if a file that decides the result has changed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platformio_plugin"))

from deepcompress.build import complaint_about_python

complaint = complaint_about_python(sys.version_info[:2])
if complaint:
    sys.exit(complaint)

from deepcompress.build.cache import mirror
from deepcompress.build.ini import Model
from deepcompress.build.project import FAILURES, Project, explain, sources
from deepcompress.errors import UserError
from deepcompress.escape import make_path, show
from deepcompress.file_write import replace_file
from deepcompress.model_name import check_name
from deepcompress.options import parse, user_path
from deepcompress.target import CPUS

FUNCTION = "deepcompress_model()"


def main() -> int:
    """Returns 0, or 1 after printing an error."""
    given = parser().parse_args()
    texts = dict(text.split("=", 1) for text in given.options)
    model = Model(given.name, user_path(given.model), texts)
    project = describe_project(given)
    try:
        check_name(given.name)
        parse(texts, where=project.where)
        contents, files = sources(model, project)
        mirror(contents, given.output)
        depend(given.output, files)
    except FAILURES as error:
        sys.stderr.write(f"\n{explain(error, project.spelling)}\n\n")
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(description=__doc__)
    command.add_argument("--folder", type=Path, required=True, help="folder of the application")
    command.add_argument("--output", type=Path, required=True, help="folder for the C files")
    command.add_argument("--store", type=Path, required=True, help="folder of the cache")
    command.add_argument("--cpu", required=True, help="gcc's name of the CPU")
    command.add_argument("--flash-limit", metavar="BYTES")
    command.add_argument("--ram-limit", metavar="BYTES")
    command.add_argument("name", help="the model's name in C")
    command.add_argument("model", help="the .pt file, relative to the folder")
    command.add_argument("options", nargs="*", metavar="OPTION=VALUE")
    return command


def describe_project(given: argparse.Namespace) -> Project:
    limits = {"--flash-limit": given.flash_limit, "--ram-limit": given.ram_limit}
    known = [word for flag, limit in limits.items() if limit for word in (flag, limit)]
    return Project(
        folder=given.folder,
        where=f"{FUNCTION} or CONFIG_DEEPCOMPRESS_MODEL of {given.folder.name}",
        store=given.store,
        target=("--cpu", given.cpu if given.cpu in CPUS else "generic", *known),
        python=sys.executable,
        verbose=False,
        progress=show,
        spelling="cmake",
    )


def depend(folder: Path, files: list[Path]) -> None:
    """Writes the depfile next to the folder: each generated file depends on all of these."""
    left = " ".join(_escaped(path) for path in sorted(folder.iterdir()))
    right = " \\\n  ".join(_escaped(path.resolve()) for path in files)
    text = f"{left}: {right}\n"
    replace_file(folder.with_name(folder.name + ".d"), text.encode())


def _escaped(path: Path) -> str:
    """The path in a depfile. Raises UserError if a depfile cannot contain it."""
    try:
        return make_path(path.as_posix())
    except ValueError as error:
        raise UserError(str(error), f"file {path}", "Rename the file or its folder") from None


if __name__ == "__main__":
    sys.exit(main())
