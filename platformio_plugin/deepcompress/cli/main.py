"""The command line: `python -m deepcompress COMMAND`. Each command is a module of this package.

Building the parser imports neither torch nor numpy: a command's `run` imports what it needs.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from deepcompress import __version__
from deepcompress.build.parent_process import end_with_parent
from deepcompress.cli import check, compile, docs, profile, prune
from deepcompress.errors import UserError, did_you_mean, draw, reason
from deepcompress.escape import Terminal, paragraph
from deepcompress.options import SPELLINGS
from deepcompress.versions import description, untested_torch


def main(arguments: list[str] | None = None) -> int:
    """Runs one command.

    Returns 0; 1 for a mistake of the user, shown as one paragraph on stderr; 2 for a defect of
    DeepCompress. Texts on the terminal are escaped, whoever prints them.
    """
    end_with_parent()
    out: Any = Terminal(sys.stdout)
    errors: Any = Terminal(sys.stderr)
    with redirect_stdout(out), redirect_stderr(errors):
        return _run(arguments)


def _run(arguments: list[str] | None) -> int:
    parsed = parser().parse_args(arguments)
    try:
        return int(parsed.run(parsed))
    except UserError as error:
        spelling = SPELLINGS[getattr(parsed, "spell_options", "flags")]
        print(draw(error, spelling=spelling), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("deepcompress: interrupted; nothing was written", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader, such as `head`, has closed the pipe; Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except BaseException as error:
        return _defect(error, verbose=getattr(parsed, "verbose", False))


def _defect(error: BaseException, *, verbose: bool) -> int:
    """Prints an error that is not the user's mistake, with its traceback if verbose; returns 2."""
    if verbose:
        traceback.print_exc()
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    print(
        f"deepcompress: internal error: {type(error).__name__}: {paragraph(reason(error))}{where}. "
        f"This is a defect of DeepCompress {__version__}, not of your model: please report it with "
        "the output of --verbose (pio run -v) and, if you may, the .pt file. Nothing was written. "
        f"Versions: {description()}." + (f" {untested}." if (untested := untested_torch()) else ""),
        file=sys.stderr,
    )
    return 2


class _ShowVersions(argparse.Action):
    """Looks the versions up only if they are asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(description())
        parser.exit()


class _Parser(argparse.ArgumentParser):
    """Suggests the nearest flag for an unknown one, in each command too."""

    def parse_known_args(  # type: ignore[override]  # of its overloads, argparse calls this one
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        parsed, unknown = super().parse_known_args(args, namespace)
        for word in unknown:
            if word.startswith("--"):
                name = word.partition("=")[0]
                near = did_you_mean(name, self._option_string_actions)
                self.error(f"there is no option {name}{near}")
        return parsed, unknown


def parser() -> argparse.ArgumentParser:
    """The parser of all commands; the parsed `run` carries out the command."""
    top = _Parser(
        prog="deepcompress",
        description="Compiles PyTorch networks to pruned int8 C for microcontrollers.",
    )
    top.add_argument(
        "--version",
        action=_ShowVersions,
        nargs=0,
        help="show the versions of DeepCompress, Python and the packages, and exit",
    )
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in (compile, check, prune, profile, docs):
        command.add(commands)
    return top
