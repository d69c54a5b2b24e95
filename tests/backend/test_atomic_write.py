"""Generated files are written completely or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from deepcompress.backend import atomic_write as write_module
from deepcompress.backend.atomic_write import atomic_write
from deepcompress.errors import UserError


def test_only_changed_files_are_written(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "ü b"
    assert atomic_write({"x.c": "1\n", "y.h": "2\n"}, folder) == ["x.c", "y.h"]
    before = (folder / "y.h").stat().st_mtime_ns
    assert atomic_write({"x.c": "3\n", "y.h": "2\n"}, folder) == ["x.c"]
    assert (folder / "y.h").stat().st_mtime_ns == before
    assert sorted(p.name for p in folder.iterdir()) == ["x.c", "y.h"]


def test_a_full_disk_leaves_the_old_files_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    atomic_write({"x.c": "old", "y.c": "old"}, tmp_path)
    real = Path.write_bytes

    def full_after_one(path: Path, data: bytes) -> int:
        if path.name == "y.c":
            raise OSError(28, "No space left on device")
        return real(path, data)

    monkeypatch.setattr(write_module.Path, "write_bytes", full_after_one)
    with pytest.raises(UserError, match="No space left on device"):
        atomic_write({"x.c": "new", "y.c": "new"}, tmp_path)
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"x.c": "old", "y.c": "old"}


def test_a_file_in_place_of_the_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(UserError, match=r"folder .*out: it cannot be written"):
        atomic_write({"x.c": ""}, tmp_path / "out")


def test_a_file_name_may_contain_folders(tmp_path: Path) -> None:
    assert atomic_write({"a/b/x.h": "1"}, tmp_path) == ["a/b/x.h"]
    assert (tmp_path / "a" / "b" / "x.h").read_text() == "1"
