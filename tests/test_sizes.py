"""What `make sizes` compares, and the file that it compares with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from golden import sizes
from golden.cases import Case
from golden.diff import SUM, Change, table
from golden.measure import Function, Measured
from golden.sizes import Baseline, Sizes

CASE, OTHER = Case("net", "m4", "balanced"), Case("net", "m0plus", "balanced")
FUNCTIONS = {
    "net_conv": Function("", 400, 48, 9000),
    "net_fc": Function("", 100, 16, 1000),
    "net_reset": Function("", 20, 0, None),
}
BEFORE = Sizes({"flash": 1000, "ram": 300}, Measured(FUNCTIONS, 10050, 96))


def with_function(name: str, **numbers: int) -> Sizes:
    functions = {**FUNCTIONS, name: replace(FUNCTIONS[name], **numbers)}
    return replace(BEFORE, measured=replace(BEFORE.measured, functions=functions))


def lines(before: dict[Case, Sizes], after: dict[Case, Sizes]) -> list[str]:
    """What is printed, without its columns."""
    return [" ".join(line.split()) for line in table(sizes.changes(before, after))]


def test_a_network_that_stays_is_one_row() -> None:
    found = sizes.changes({CASE: BEFORE}, {CASE: BEFORE})
    assert found == [
        Change(CASE, SUM, "flash", 1000, 1000),
        Change(CASE, SUM, "ram", 300, 300),
        Change(CASE, SUM, "code", 520, 520),
        Change(CASE, SUM, "stack", 96, 96),
        Change(CASE, SUM, "cycles", 10050, 10050),
    ]
    assert lines({CASE: BEFORE}, {CASE: BEFORE}) == [
        "net (sum) flash 1,000 ram 300 code 520 stack 96 cycles 10,050 m4-balanced"
    ]


def test_a_function_that_changes_has_a_row_of_its_own() -> None:
    after = with_function("net_conv", code_bytes=440, cycles=8000)
    after = replace(after, memory={"flash": 1040, "ram": 300})
    after = replace(after, measured=replace(after.measured, cycles=9050))
    assert lines({CASE: BEFORE, OTHER: BEFORE}, {CASE: after, OTHER: BEFORE}) == [
        "net (sum) flash 1,000 -> 1,040 (+40) ram 300 code 520 -> 560 (+40) stack 96 "
        "cycles 10,050 -> 9,050 (-1,000) m4-balanced",
        "net net_conv code 400 -> 440 (+40) stack 48 cycles 9,000 -> 8,000 (-1,000) m4-balanced",
        "net (sum) flash 1,000 ram 300 code 520 stack 96 cycles 10,050 m0plus-balanced",
    ]
    worse = [c for c in sizes.changes({CASE: BEFORE}, {CASE: after}) if c.worse]
    assert [(c.function, c.what) for c in worse] == [
        *((SUM, "flash"), (SUM, "code"), ("net_conv", "code")),
    ]


def test_a_new_function_and_a_new_network_are_called_new() -> None:
    functions = {**FUNCTIONS, "net_pool": Function("", 30, 8, 70)}
    after = replace(BEFORE, measured=replace(BEFORE.measured, functions=functions))
    assert lines({CASE: BEFORE}, {CASE: after})[1] == (
        "net net_pool code 0 -> 30 (new) stack 0 -> 8 (new) cycles 0 -> 70 (new) m4-balanced"
    )
    assert "flash 0 -> 1,000 (new)" in lines({}, {CASE: BEFORE})[0]
    assert "flash 1,000 -> 0 (gone)" in lines({CASE: BEFORE}, {})[0]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    baseline = Baseline("arm-none-eabi-gcc 1.2.3", {CASE: BEFORE, OTHER: BEFORE})
    sizes.write(baseline, tmp_path / "baseline.json")
    assert sizes.read(tmp_path / "baseline.json") == baseline


def test_the_baseline_has_the_networks_that_are_measured() -> None:
    assert list(sizes.read().sizes) == sizes.CASES
