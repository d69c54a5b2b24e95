"""`deepcompress compile net.pt -o out/`: writes the C sources of a model."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from deepcompress import escape
from deepcompress.cli.command import add_model_command, instruments, parse_options, path
from deepcompress.errors import UserError
from deepcompress.model_name import check_name, class_name, name_of_file

if TYPE_CHECKING:
    from deepcompress.cli.command import Commands

EPILOG = """\
example:
  python -m deepcompress compile models/lenet5.pt -o out/ \\
      --calibration data/calibration.npz --input-mean 0.1307 --input-std 0.3081 \\
      --sparsity 0.8 --cpu cortex-m4

This writes lenet5.h, lenet5.hpp, lenet5_weights.h, lenet5.c, report.json and report.html to the
folder out, with the library files that they need and a CMakeLists.txt. To build the folder, use
CMake or compile its .c files; Python is not needed. A folder may contain several models.
"""

_ENDS = (".c", ".h", ".hpp", "_weights.h")  # of the names of generated C files


def add(commands: Commands) -> None:
    """Adds the command."""
    command = add_model_command(
        commands,
        "compile",
        run,
        usage="%(prog)s [options] -o OUTPUT model",
        verbose="print the time of each stage",
        help="compile a .pt file to C sources",
        description="Compresses a PyTorch network and writes it as C sources.",
        epilog=EPILOG,
    )
    command.add_argument("-o", "--output", type=path, required=True, help="folder for the C files")
    command.add_argument("--name", help="the model's name in C; by default the name of its file")
    command.add_argument(
        "--no-runtime",
        action="store_true",
        help="do not write the files of the library, for a build that already has them",
    )


def run(parsed: argparse.Namespace) -> int:
    """0, after the sources are written."""
    name = _name(parsed)  # before the imports, which take seconds
    from deepcompress.backend.atomic_write import atomic_write
    from deepcompress.backend.runtime_sources import runtime_sources
    from deepcompress.compile import compile_model
    from deepcompress.pipeline.reporter import LineReporter
    from deepcompress.report.summary import table

    options = parse_options(parsed)
    runtime = {} if parsed.no_runtime else runtime_sources()
    _check_output(parsed.output, [f"{name}{end}" for end in _ENDS] + list(runtime))
    reporter = LineReporter(verbose=parsed.verbose)
    show = reporter.progress
    show(f"{name}: compressing {escape.name(parsed.model.name)} for {options.target.cpu}")
    compiled = compile_model(
        parsed.model,
        name=name,
        options=options,
        reporter=reporter,
        instruments=instruments(parsed),
    )
    atomic_write(compiled.texts | runtime, parsed.output)
    _record_inputs()
    show(table(compiled.report))
    cpp = f"DeepCompress::{class_name(name)}"
    show(
        f"sketch    {cpp}"
        if parsed.no_runtime
        else f"wrote     {parsed.output}/: {name}.h for C, {name}.hpp for C++ ({cpp}), report.html"
    )
    return 0


def _name(parsed: argparse.Namespace) -> str:
    """The model's name in C. Raises UserError if it cannot be one."""
    if parsed.name is None:
        return name_of_file(parsed.model.stem)
    check_name(parsed.name)
    return str(parsed.name)


def _check_output(folder: Path, names: Iterable[str]) -> None:
    """Raises UserError if a file that would be replaced is the user's: each of ours names us."""
    for name in names:
        path = folder / name
        content = path.read_bytes().lower() if path.is_file() else b""
        if content and b"deepcompress" not in content:
            raise UserError(
                f"DeepCompress did not write the {name} in it, and would replace it",
                f"folder {folder}",
                "Choose another folder, or rename or delete that file",
            )


def _record_inputs() -> None:
    """Writes what user's code read, for the cache of the build tool that started this, if any."""
    from deepcompress.build import observed_inputs
    from deepcompress.build.cache import digest_of
    from deepcompress.data.observed_files import files_read

    file = os.environ.get(observed_inputs.VARIABLE)
    if not file:
        return
    files: dict[str, str | None] = {}
    for name, same in files_read(Path.cwd()).items():
        if same is None:
            files[name] = observed_inputs.ABSENT
        else:
            files[name] = digest_of(Path(name)) if same else observed_inputs.CHANGED
    observed_inputs.write(Path(file), files)
