"""`deepcompress check net.pt`: whether a model will run and fit, without compiling it."""

from __future__ import annotations

import argparse
import textwrap
from typing import TYPE_CHECKING

from deepcompress.cli.command import add_model_command, instruments, parse_options
from deepcompress.versions import description

if TYPE_CHECKING:
    from deepcompress.cli.command import Commands

_WIDTH = 100

EPILOG = """\
example:
  python -m deepcompress check models/lenet5.pt --board nucleo_f446re

The exit code is 0 if every layer is supported and the model fits the board, otherwise 1. The
command writes no files.
"""


def add(commands: Commands) -> None:
    """Adds the command."""
    add_model_command(
        commands,
        "check",
        run,
        help="check whether a .pt file will run and fit, without compiling it",
        description="Lists the layers of a network, whether each is supported, and what it needs.",
        epilog=EPILOG,
    )


def run(parsed: argparse.Namespace) -> int:
    """0; 1 if a layer is not supported or the board is too small."""
    from deepcompress.cli.survey import draw_survey, survey
    from deepcompress.compile import use_of
    from deepcompress.report.unused_options import unused_options

    options = parse_options(parsed)
    found = survey(parsed.model, options=options, instruments=instruments(parsed))
    notes = unused_options(options, use_of(parsed.model, "check"))
    print(draw_survey(found, options.target, notes), flush=True)
    print(
        textwrap.fill(f"versions  {description()}", _WIDTH, subsequent_indent=" " * 10), flush=True
    )
    return 1 if found.problems else 0
