"""Runs several `pio run` at once in one project."""

from __future__ import annotations

import shutil

from integrity_project import ENVIRONMENTS, Progress, Project, Row, project


def run(progress: Progress, *, rounds: int = 5) -> list[Row]:
    """What was tried, how often, and how often the result was that of a single build."""
    rows = []
    with project() as made:
        expected = made.built("one")
        for count in (2, 4):
            for what, environments in (
                (f"{count} pio run at once, in {count} environments", ENVIRONMENTS[:count]),
                (f"{count} pio run at once, in one environment", ("one",) * count),
            ):
                right = 0
                for number in range(rounds):
                    right += _build(made, environments, expected, progress)
                    progress(f"{what}: round {number + 1} of {rounds}")
                rows.append((what, rounds * count, right))
    return rows


def _build(
    made: Project, environments: tuple[str, ...], expected: object, progress: Progress
) -> int:
    """How many of the builds succeed with the expected result; the model is compiled once."""
    shutil.rmtree(made.store())
    for name in set(environments):
        shutil.rmtree(made.folder / ".pio" / "build" / name / "deepcompress")
    running = [made.start(name) for name in environments]
    outputs = [process.communicate()[0] for process in running]
    for process, output in zip(running, outputs, strict=True):
        if process.returncode:
            progress(output)
    compiled = sum("compressing" in output for output in outputs)
    if compiled != 1:
        progress(f"the model was compiled {compiled} times")
        return 0
    return sum(
        process.returncode == 0 and made.built(name) == expected
        for process, name in zip(running, environments, strict=True)
    )
