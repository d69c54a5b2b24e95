"""The table of boards: a built board is measured, any other is never counted as built."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import bare_boards
import boards


def cells(only: str) -> list[boards.Cell]:
    return list(boards.every_cell(only))


def test_a_board_without_a_framework_is_built_and_measured(arm_tools: None) -> None:
    (cell,) = cells("bluepill_f103c8 none")
    assert cell.result == boards.BUILDS
    assert 20_000 < cell.use.flash < cell.use.flash_limit == 64 << 10
    assert 2_000 < cell.use.ram < cell.use.ram_limit == 20 << 10


def test_a_board_that_needs_the_registry_is_not_counted_as_built(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def offline(command: list, **_: object) -> subprocess.CompletedProcess:
        said = "Platform Manager: Installing nordicnrf52\nHTTPClientError: \n"
        return subprocess.CompletedProcess(command, 1, stdout="", stderr=said)

    monkeypatch.setattr(boards.subprocess, "run", offline)
    (cell,) = cells("nrf52_dk Arduino")
    assert cell.result == boards.ABSENT
    assert cell.use is None
    assert "registry" in cell.why


def test_a_broken_build_is_a_failure_with_its_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(command: list, **_: object) -> subprocess.CompletedProcess:
        return subprocess.CompletedProcess(command, 1, stdout="", stderr="main.cpp:3: error: no")

    monkeypatch.setattr(boards.subprocess, "run", broken)
    (cell,) = cells("nrf52_dk Arduino")
    assert cell.result == boards.FAILS
    assert cell.why == "main.cpp:3: error: no"


def test_zephyr_is_not_built_without_a_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZEPHYR_BASE", raising=False)
    assert {cell.result for cell in cells("Zephyr")} == {boards.ABSENT}


def test_sizes_are_read_from_the_linkers_output() -> None:
    said = "  FLASH:       55934 B       512 KB     10.67%\n  RAM:        6592 B       128 KB"
    assert boards.region_of("FLASH", said) == (55_934, 512 << 10)
    assert boards.region_of("RAM", said) == (6_592, 128 << 10)


def test_the_table_has_a_row_per_board_and_marks_boards_that_were_not_built() -> None:
    use = boards.Use(1_000, 64 << 10, 200, 20 << 10)
    drawn = boards.table(
        [
            boards.Cell("pill", "Arduino", boards.BUILDS, use),
            boards.Cell("pill", "mbed", boards.ABSENT, why="needs a package"),
        ]
    )
    assert "| pill (64 / 20) |  | 1,000 / 200 |  |  | not built here |  |" in drawn
    assert drawn.endswith("Not built here: mbed: needs a package.")


def test_each_real_board_has_an_environment_in_the_example() -> None:
    ini = (boards.EXAMPLE / "platformio.ini").read_text()
    for board in bare_boards.BOARDS:
        assert f"\n[env:{board.name}]\n" in ini
    for environment in boards.PLATFORMIO:
        assert f"\n[env:{environment}]\n" in ini
