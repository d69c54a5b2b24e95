"""`deepcompress profile firmware.elf`: the table, JSON, and the model's HTML report with cycles."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from deepcompress.backend.atomic_write import atomic_write
from deepcompress.errors import UserError
from deepcompress.profiler.profile import INFERENCE, profile, table, to_json
from deepcompress.report.html import html

_KINDS = ("int8", "uint8", "float")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `deepcompress profile`."""
    parser.add_argument("elf", type=Path, help="firmware.elf; with --alone also a real board's")
    parser.add_argument("--cpu", help="such as cortex-m4; by default what the ELF says")
    parser.add_argument(
        "--function",
        metavar="NAME",
        help=f"what counts as an inference; may have * (default {INFERENCE})",
    )
    parser.add_argument(
        "--calls", type=int, metavar="N", help="stop after N inferences, for a sketch that loops"
    )
    parser.add_argument(
        "--alone",
        action="store_true",
        help="call each inference once by itself, on zeros, in place of running the firmware from "
        "reset to exit: for a real board, whose peripherals are not modelled",
    )
    parser.add_argument("--report", type=Path, help="the model's report.json, for cycles a product")
    parser.add_argument("--clock-hz", type=int, metavar="HZ", help="to tell milliseconds")
    parser.add_argument(
        "--wait-states", type=int, default=0, metavar="N", help="of the flash (default 0)"
    )
    parser.add_argument(
        "--flash-reads", action="store_true", help="count the bytes loaded from flash; slower"
    )
    parser.add_argument(
        "--unaligned",
        action="store_true",
        help="count what words that are not aligned cost, on Cortex-M3 and M4; slower",
    )
    parser.add_argument(
        "--directory", type=Path, help="the firmware's files (default: the working directory)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write the model's report with what was measured"
    )


def run(parsed: argparse.Namespace) -> int:
    """Profiles, and prints the table or JSON; what the firmware prints goes before the table."""
    _check_numbers(parsed)
    report = _read_report(parsed.report) if parsed.report else None
    if parsed.html and report is None:
        raise UserError(
            "an HTML report is of a model, and none is named",
            "option --html",
            "Add --report with the report.json beside the generated C",
        )
    measured = profile(
        parsed.elf,
        cpu=parsed.cpu,
        function=parsed.function,
        calls=parsed.calls,
        alone=parsed.alone,
        folder=parsed.directory,
        flash_wait_states=parsed.wait_states,
        flash_reads=parsed.flash_reads,
        unaligned=parsed.unaligned,
        clock_hz=parsed.clock_hz or (report or {}).get("clock_hz"),
        dense_macs=_dense_macs(report) if report else {},
        console=sys.stderr.buffer if parsed.json else sys.stdout.buffer,
    )
    facts = to_json(measured)
    if parsed.html:
        atomic_write({parsed.html.name: _page(report, facts, parsed.report)}, parsed.html.parent)
    print(json.dumps(facts, indent=1) if parsed.json else table(measured))
    return 0


def _page(report: dict[str, Any], facts: dict[str, Any], path: Path) -> str:
    try:
        return html(report, facts)
    except KeyError as missing:
        raise UserError(
            f"it says nothing of {missing}, so that it is of another release",
            f"report {path}",
            "Compile the model anew",
        ) from None


def _check_numbers(parsed: argparse.Namespace) -> None:
    for name, least in (("calls", 1), ("clock_hz", 1), ("wait_states", 0)):
        value = getattr(parsed, name)
        if value is not None and value < least:
            flag = "--" + name.replace("_", "-")
            raise UserError(f"{value} is below {least}", flag, f"Give {least} or more")


def _read_report(path: Path) -> dict[str, Any]:
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        _dense_macs(report)
        return report
    except OSError as error:
        what = f"it cannot be read ({error.strerror})"
    except (ValueError, KeyError, TypeError, AttributeError):
        what = "it is not a report of deepcompress"
    raise UserError(what, f"report {path}", "Name the report.json beside the generated C")


def _dense_macs(report: dict[str, Any]) -> dict[str, int]:
    """Products by function; those of the whole model by its inferences."""
    macs = {layer["function"]: layer["dense_macs"] for layer in report["layers"]}
    whole = sum(macs.values())
    return macs | {f"{report['name']}_infer_{kind}": whole for kind in _KINDS}
