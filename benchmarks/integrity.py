"""Does what can go wrong to builds, and counts how often it was found or did no harm.

Each part is a module with `run(progress) -> list of (what, tried, found)`. Ends with 1 if any
number is below 100%. With the counts that are the default, it takes about two hours.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial

import integrity_cache
import integrity_kills
import integrity_parallel
from integrity_project import Progress, Row


def main() -> int:
    given = _parser().parse_args()
    rows: list[Row] = []
    for name, part in _parts(given).items():
        if name in given.part:
            rows += part(_progress(name))
            print(_table(rows), flush=True)
    return 0 if all(found == tried for _, tried, found in rows) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="of each of two commands")
    parser.add_argument("--rounds", type=int, default=5, help="of parallel builds")
    parser.add_argument("--flips", type=int, default=200, help="of bits, of each network")
    parser.add_argument("--seed", type=int, default=0)
    names = ["kills", "cache", "parallel", "flips"]
    parser.add_argument("--part", nargs="+", choices=names, default=names, help="default: all")
    return parser


def _parts(given: argparse.Namespace) -> dict[str, Callable[[Progress], list[Row]]]:
    def flips(progress: Progress) -> list[Row]:
        import integrity_bit_flips  # imports torch

        rows: list[Row] = integrity_bit_flips.run(progress, flips=given.flips)
        return rows

    return {
        "kills": partial(integrity_kills.run, kills=given.kills, seed=given.seed),
        "cache": partial(integrity_cache.run, seed=given.seed),
        "parallel": partial(integrity_parallel.run, rounds=given.rounds),
        "flips": flips,
    }


def _progress(part: str) -> Progress:
    started = time.monotonic()

    def show(line: str) -> None:
        print(f"[{part} {time.monotonic() - started:6.0f} s] {line}", flush=True)

    return show


def _table(rows: list[Row]) -> str:
    width = max(len(what) for what, _, _ in rows)
    lines = [f"{'what':{width}}  tried  found"]
    for what, tried, found in rows:
        lines.append(f"{what:{width}}  {tried:5}  {found:5}  {100 * found / max(tried, 1):.1f}%")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
