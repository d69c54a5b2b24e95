"""A board is found by PlatformIO's id: in the project, an installed platform, or our own table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from deepcompress.errors import UserError
from deepcompress.options import Target
from deepcompress.target import CPUS
from deepcompress.target.boards import KNOWN, find_board, flags

MANIFEST = {
    "build": {"cpu": "Cortex-M33", "f_cpu": "64000000L"},
    "upload": {"maximum_size": 1000, "maximum_ram_size": 200},
}


@pytest.fixture(autouse=True)
def nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PLATFORMIO_CORE_DIR", str(tmp_path / "core"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(folder: Path, manifest: dict, name: str = "my_board") -> None:
    folder.mkdir(parents=True)
    (folder / f"{name}.json").write_text(json.dumps(manifest))


def test_a_known_board_needs_no_platform() -> None:
    assert find_board("nucleo_f446re") == Target("cortex-m4", 512 << 10, 128 << 10, 180_000_000)
    assert {board.cpu for board in KNOWN.values()} <= set(CPUS)


def test_an_installed_platforms_manifest_is_read(nothing_installed: Path) -> None:
    put(nothing_installed / "core" / "platforms" / "some" / "boards", MANIFEST)
    assert find_board("my_board") == Target("cortex-m33", 1000, 200, 64_000_000)


def test_the_projects_own_manifest_counts_first(nothing_installed: Path) -> None:
    put(nothing_installed / "core" / "platforms" / "some" / "boards", MANIFEST, "nucleo_f446re")
    own = {"build": {"cpu": "xtensa"}, "upload": {"maximum_size": 5}}
    put(nothing_installed / "boards", own, "nucleo_f446re")
    assert find_board("nucleo_f446re") == Target("generic", 5, None, None)


def test_virtual_boards_are_found_in_the_library() -> None:
    assert find_board("virtual_m0").cpu == "cortex-m0"
    assert find_board("virtual_native") == Target("host")


def test_a_path_is_no_board(nothing_installed: Path) -> None:
    put(nothing_installed / "elsewhere", MANIFEST)
    with pytest.raises(UserError, match=r"no board is called.*pio pkg install.*--flash-limit"):
        find_board("../elsewhere/my_board")


def test_the_known_facts_of_a_target_become_flags() -> None:
    assert flags(Target("cortex-m4", 10, None, 5)) == (
        "--cpu", "cortex-m4", "--flash-limit", "10", "--clock-hz", "5",
    )  # fmt: skip
