"""Kills `pio run` and `deepcompress compile -o` at random times; the next run must be right."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from contextlib import suppress

from integrity_project import Progress, Project, Row, contents, finish, kill, project

SPARSITIES = ("0.5", "0.8")
OPERATIONS = 70  # of the file system, of one write: about as many as there are


def run(progress: Progress, *, kills: int = 200, seed: int = 0) -> list[Row]:
    """What was tried, how often, and how often the result was right.

    Args:
        kills: of `pio run`, and as many of `deepcompress compile`.
    """
    with project() as made:
        return [
            *_kill_builds(made, progress, kills, random.Random(seed)),
            *_kill_compilers(made, progress, kills, random.Random(seed)),
        ]


def _kill_builds(made: Project, progress: Progress, kills: int, chance: random.Random) -> list[Row]:
    expected, seconds = {}, 0.0
    for sparsity in SPARSITIES:
        _forget(made, sparsity)
        started = time.monotonic()
        finish(made.start("one"))
        seconds = max(seconds, time.monotonic() - started)
        expected[sparsity] = made.built("one")
    right = ended = clean = 0
    for count in range(kills):
        sparsity = SPARSITIES[count % 2]
        _forget(made, sparsity)
        process = made.start("one")
        moment = chance.uniform(0, seconds)
        _wait(process, moment)
        how = kill(process, chance)
        ended += made.wait_for_orphans()
        try:
            finish(made.start("one"))
            right += (found := made.built("one") == expected[sparsity])
        except RuntimeError as error:
            found = False
            progress(str(error))
        clean += (left := _leftovers(made)) == []
        progress(
            f"pio run {count + 1} of {kills}: killed {how} after {moment:.1f} s, "
            f"{'right' if found else 'WRONG'}{f', left {left}' if left else ''}"
        )
    return [
        ("pio run, killed: the next one equals a clean build", kills, right),
        ("pio run, killed: no process is left after 30 s", kills, ended),
        ("pio run, killed: no file is left after the next one", kills, clean),
    ]


def _forget(made: Project, sparsity: str) -> None:
    """Sets the sparsity, and removes one result of the cache, so that a build must compile."""
    made.configure(sparsity)
    for entry in made.store().glob("*/manifest.json"):
        entry.unlink()


def _wait(process: subprocess.Popen[str], seconds: float) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)


def _leftovers(made: Project) -> list[str]:
    generated = made.folder / ".pio" / "build" / "one" / "deepcompress" / "generated"
    found = [*made.store().glob("making-*"), *generated.glob("*.new")]
    return [path.name for path in [*found, *made.folder.rglob(".writing-*")]]


def _kill_compilers(
    made: Project, progress: Progress, kills: int, chance: random.Random
) -> list[Row]:
    """Half of the kills are at a random time, half at a random operation of the write."""
    folder = made.folder / "out"
    expected, seconds = {}, 0.0
    mine = {"notes.txt": b"of the user"}
    for sparsity in SPARSITIES:
        started = time.monotonic()
        finish(made.start_compile(folder, sparsity))
        seconds = max(seconds, time.monotonic() - started)
        expected[sparsity] = {**contents(folder), **mine}
    (folder / "notes.txt").write_bytes(mine["notes.txt"])
    whole = right = clean = writing = 0
    for count in range(kills):
        sparsity = SPARSITIES[count % 2]
        if count % 4 < 2:
            after = chance.uniform(0, seconds)
            process = made.start_compile(folder, sparsity)
            _wait(process, after)
            kill(process, chance)
            moment = f"after {after:.1f} s"
        else:
            operation = chance.randrange(1, OPERATIONS + 1)
            process = made.start_compile(folder, sparsity, kill_at=operation)
            process.communicate()
            writing += process.returncode == -signal.SIGKILL
            moment = f"at operation {operation} of its write"
        found = contents(folder)
        is_whole = found in expected.values()
        whole += is_whole
        try:
            finish(made.start_compile(folder, sparsity))
            is_right = contents(folder) == expected[sparsity]
        except RuntimeError as error:
            is_right = False
            progress(str(error))
        right += is_right
        left = [path.name for path in (*folder.glob(".*"), *made.folder.glob(".swapping-*"))]
        clean += left == []
        progress(
            f"compile {count + 1} of {kills}: killed {moment}, {'whole' if is_whole else 'MIXED'}, "
            f"{'right' if is_right else 'WRONG'}{f', left {left}' if left else ''}"
        )
    progress(f"{writing} kills of compile were while it wrote")
    return [
        ("compile -o, killed: all files are old, or all are new", kills, whole),
        ("compile -o, killed: the next one equals a clean result", kills, right),
        ("compile -o, killed: no work folder is left after the next one", kills, clean),
    ]
