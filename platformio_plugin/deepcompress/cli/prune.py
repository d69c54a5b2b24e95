"""`deepcompress prune net.pt -o small.pt`: makes a model smaller by training it on data."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from deepcompress.cli.command import add_model_command, instruments, parse_options

if TYPE_CHECKING:
    from deepcompress.cli.command import Commands

EPILOG = """\
example:
  python -m deepcompress prune models/lenet5.pt -o models/lenet5_small.pt \\
      --data data/train.npz --input-mean 0.1307 --input-std 0.3081 \\
      --max-accuracy-drop 0.5 --optimize size

writes models/lenet5_small.pt, which compiles like any other, and lenet5_small.png, a plot of
accuracy against size. Trials are kept in lenet5_small.study: an interrupted search resumes there.
"""


def add(commands: Commands) -> None:
    """Adds the command."""
    command = add_model_command(
        commands,
        "prune",
        run,
        help="turn a .pt file into a smaller one, by training on data",
        description="Prunes a network while training it until it meets a goal, and writes it.",
        epilog=EPILOG,
    )
    command.add_argument(
        "-o", "--output", type=Path, required=True, help="the .pt file to write; a .png next to it"
    )


def run(parsed: argparse.Namespace) -> int:
    """0; 1 if the goal was not met, after the nearest result was written."""
    from deepcompress.compile import prune_model
    from deepcompress.pipeline.reporter import LineReporter
    from deepcompress.training.compress_with_data import summary

    reporter = LineReporter(verbose=parsed.verbose)
    pruned = prune_model(
        parsed.model,
        parsed.output,
        options=parse_options(parsed),
        reporter=reporter,
        instruments=instruments(parsed),
    )
    reporter.progress(summary(pruned))
    if not pruned.search.met:
        print(f"deepcompress: the goal is not met: {pruned.search.shortfall}", file=sys.stderr)
    return 0 if pruned.search.met else 1
