"""`deepcompress prune net.pt -o small.pt`: makes a model smaller by training it on data."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from deepcompress.cli.command import add_model_command, instruments, parse_options, path

if TYPE_CHECKING:
    from deepcompress.cli.command import Commands

EPILOG = """\
example:
  python -m deepcompress prune models/lenet5.pt -o models/lenet5_small.pt \\
      --data data/train.npz --input-mean 0.1307 --input-std 0.3081 \\
      --max-accuracy-drop 0.5 --optimize size

This writes models/lenet5_small.pt, which compiles like any other model, and lenet5_small.png, a
plot of accuracy against size. The trials are stored in the folder lenet5_small.study. If the
search is interrupted, the same command resumes it. The command always retrains; it does not need
--retrain.
"""


def add(commands: Commands) -> None:
    """Adds the command."""
    command = add_model_command(
        commands,
        "prune",
        run,
        usage="%(prog)s [options] -o OUTPUT model",
        help="make a network smaller by training on data; writes another .pt file",
        description="Prunes and trains a network until it meets a goal; writes another .pt file.",
        epilog=EPILOG,
    )
    command.add_argument(
        "-o",
        "--output",
        type=path,
        required=True,
        help="the .pt file to write; the plot has the same name with .png",
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
