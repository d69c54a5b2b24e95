"""`deepcompress profile firmware.elf`: the table, JSON, and the model's HTML report with cycles."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepcompress.cli.command import path
from deepcompress.errors import UserError

if TYPE_CHECKING:
    from deepcompress.cli.command import Commands
    from deepcompress.profiler.engine import Request

_KINDS = ("int8", "uint8", "float")


def add(commands: Commands) -> None:
    """Adds the command."""
    command = commands.add_parser(
        "profile",
        help="count the modelled cycles of a firmware, layer by layer",
        description="Runs a firmware ELF instruction by instruction and counts modelled cycles.",
    )
    command.add_argument("elf", type=path, help="the firmware.elf; for a real board, add --alone")
    command.add_argument("--cpu", help="such as cortex-m4; by default the one that the ELF states")
    command.add_argument(
        "--function",
        metavar="NAME",
        help="the functions that are inferences; may contain * (default *_infer_*)",
    )
    command.add_argument(
        "--calls", type=int, metavar="N", help="stop after N inferences, for a sketch that loops"
    )
    command.add_argument(
        "--alone",
        action="store_true",
        help="call each inference once, with zeros as input, instead of running the firmware from "
        "reset to exit. For a real board, because its peripherals are not simulated",
    )
    command.add_argument(
        "--report", type=path, help="the model's report.json, to print cycles per MAC"
    )
    command.add_argument("--clock-hz", type=int, metavar="HZ", help="the CPU's clock, to print ms")
    command.add_argument(
        "--wait-states", type=int, default=0, metavar="N", help="wait states of flash (default 0)"
    )
    command.add_argument(
        "--flash-reads", action="store_true", help="count the bytes loaded from flash; slower"
    )
    command.add_argument(
        "--unaligned",
        action="store_true",
        help="count the extra cycles of unaligned words, on Cortex-M3 and M4; slower",
    )
    command.add_argument(
        "--directory", type=path, help="folder of the firmware's files (default: the current one)"
    )
    command.add_argument("--json", action="store_true", help="print JSON")
    command.add_argument(
        "--html",
        type=path,
        metavar="FILE",
        help="write the model's HTML report with the measured values; needs --report",
    )
    command.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Profiles, and prints the table or JSON, after what the firmware prints."""
    from deepcompress.profiler.profile import profile, table, to_json

    _check_numbers(parsed)
    report = _read_report(parsed.report) if parsed.report else None
    if parsed.html and report is None:
        raise UserError(
            "an HTML report needs a model, and none is named",
            "option --html",
            "Add --report with the report.json next to the generated C",
        )
    clock_hz = parsed.clock_hz or (report or {}).get("clock_hz")
    macs = _dense_macs(report) if report else {}
    measured = profile(parsed.elf, _request(parsed, clock_hz), dense_macs=macs)
    facts = to_json(measured)
    if parsed.html and report is not None:
        _write_html(parsed.html, report, facts, parsed.report)
    print(json.dumps(facts, indent=1) if parsed.json else table(measured))
    return 0


def _request(parsed: argparse.Namespace, clock_hz: int | None) -> Request:
    from deepcompress.profiler.engine import Request

    return Request(
        cpu=parsed.cpu,
        function=parsed.function or Request.function,
        calls=parsed.calls,
        alone=parsed.alone,
        folder=parsed.directory,
        console=sys.stderr.buffer if parsed.json else sys.stdout.buffer,
        clock_hz=clock_hz,
        wait_states=parsed.wait_states,
        flash_reads=parsed.flash_reads,
        unaligned=parsed.unaligned,
    )


def _write_html(
    file: Path, report: dict[str, Any], facts: dict[str, Any], report_file: Path
) -> None:
    from deepcompress.backend.atomic_write import atomic_write
    from deepcompress.report.html import html

    try:
        page = html(report, facts)
    except KeyError as missing:
        raise UserError(
            f"it does not contain {missing}: another release wrote it",
            f"report {report_file}",
            "Compile the model again",
        ) from None
    atomic_write({file.name: page}, file.parent)


def _check_numbers(parsed: argparse.Namespace) -> None:
    for name, least in (("calls", 1), ("clock_hz", 1), ("wait_states", 0)):
        value = getattr(parsed, name)
        if value is not None and value < least:
            flag = "--" + name.replace("_", "-")
            raise UserError(f"{value} is below {least}", flag, f"Give {least} or more")


def _read_report(path: Path) -> dict[str, Any]:
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        _dense_macs(report)
        return report
    except OSError as error:
        what = f"it cannot be read ({error.strerror})"
    except (ValueError, KeyError, TypeError, AttributeError):
        what = "it is not a report of deepcompress"
    raise UserError(what, f"report {path}", "Name the report.json next to the generated C")


def _dense_macs(report: dict[str, Any]) -> dict[str, int]:
    """Products by function; an inference has those of the whole model."""
    macs = {layer["function"]: layer["dense_macs"] for layer in report["layers"]}
    whole = sum(macs.values())
    return macs | {f"{report['name']}_infer_{kind}": whole for kind in _KINDS}
