"""Files of a folder change together, also if the writer is killed at any of its operations."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from deepcompress import file_write
from deepcompress.file_write import replace_file, replace_files
from killed_process import killed_at_each_operation

NAMES = ("net.c", "net.h", "net_weights.h", "deepcompress/model.h")
OLD = {name: f"old {name}".encode() for name in NAMES}
NEW = {name: f"new {name}".encode() for name in (*NAMES, "report.json")}
SAME = {"CMakeLists.txt": b"the same in both", "kernels/same.h": b"in a folder"}
MINE = {"main.c": b"a file of the user"}


def contents(folder: Path) -> dict[str, bytes]:
    """Files in the folder by name, without those of hidden folders."""
    paths = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    return {
        name.as_posix(): path.read_bytes()
        for name, path in paths.items()
        if not any(part.startswith(".") for part in name.parts)
    }


def hidden(folder: Path) -> list[str]:
    """Work folders in the folder and next to it."""
    found = [*folder.glob(".*"), *folder.parent.glob(".*")]
    return sorted(path.name for path in found if path.is_dir())


def prepare(folder: Path, *, mine: str = "") -> Callable[[], None]:
    """A function that writes the old files, and files of the user to the subfolder `mine`."""

    def write() -> None:
        for name, content in {**OLD, **SAME, **{f"{mine}{k}": v for k, v in MINE.items()}}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        (folder / "report.json").unlink(missing_ok=True)

    return write


def test_a_kill_at_any_operation_leaves_all_old_or_all_new_files(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    before, after = {**OLD, **SAME, **MINE}, {**NEW, **SAME, **MINE}
    found = []
    for _ in killed_at_each_operation(
        prepare(folder), lambda: replace_files({**NEW, **SAME}, folder)
    ):
        found.append(contents(folder))
        assert found[-1] in (before, after)
        replace_files({**NEW, **SAME}, folder)
        assert contents(folder) == after
        assert hidden(folder) == []
    assert len(found) > 30
    assert before in found
    assert after in found


def test_with_folders_of_the_user_a_mix_is_marked_and_the_next_write_ends_it(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "out"
    mine = {f"build/{name}": content for name, content in MINE.items()}
    before, after = {**OLD, **SAME, **mine}, {**NEW, **SAME, **mine}
    mixed = 0
    for _ in killed_at_each_operation(
        prepare(folder, mine="build/"), lambda: replace_files({**NEW, **SAME}, folder)
    ):
        found = contents(folder)
        if found not in (before, after):
            mixed += 1
            assert list(folder.glob(".writing-*/commit"))
            assert set(found.items()) <= {*before.items(), *after.items()}
            replace_files(SAME, folder)  # any write finishes the one that was killed
            assert contents(folder) == after
        replace_files({**NEW, **SAME}, folder)
        assert contents(folder) == after
        assert hidden(folder) == []
    assert mixed >= len(NEW) - 1


def test_a_kill_at_any_operation_leaves_no_folder_or_a_complete_one(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "out"

    def remove() -> None:
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        if folder.exists():
            folder.rmdir()

    steps = 0
    for _ in killed_at_each_operation(remove, lambda: replace_files(NEW, folder)):
        steps += 1
        assert not folder.exists() or contents(folder) == NEW
        replace_files(NEW, folder)
        assert contents(folder) == NEW
        assert hidden(folder) == []
    assert steps > 10


def test_a_kill_at_any_operation_leaves_the_old_or_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "small.pt"
    found = []
    for _ in killed_at_each_operation(
        lambda: replace_file(path, b"old"), lambda: replace_file(path, b"new")
    ):
        found.append(path.read_bytes())
        replace_file(path, b"new")
        assert path.read_bytes() == b"new"
        assert [p.name for p in tmp_path.iterdir()] == ["small.pt"]
    assert {*found} == {b"old", b"new"}


def test_an_error_between_two_renames_restores_the_old_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    prepare(folder, mine="build/")()
    before, real = contents(folder), Path.replace

    def refuse(path: Path, target: Path) -> Path:
        if Path(target) == folder / "net_weights.h" and b"new" in path.read_bytes():
            raise PermissionError(13, "The file is open in another process")
        return real(path, target)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(PermissionError):
        replace_files(NEW, folder)
    assert contents(folder) == before
    assert hidden(folder) == []


def test_files_of_the_user_keep_their_identity_and_time(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    prepare(folder)()
    (folder / "main.c").chmod(0o640)
    folder.chmod(0o750)
    before = (folder / "main.c").stat()
    replace_files({**NEW, **SAME}, folder)
    after = (folder / "main.c").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert (after.st_mode, after.st_nlink) == (before.st_mode, 1)
    assert folder.stat().st_mode & 0o777 == 0o750


def test_a_file_that_the_user_writes_during_the_exchange_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, real = tmp_path / "out", file_write._exchange
    prepare(folder)()

    def exchange(one: Path, other: Path) -> bool:
        (other / "added.txt").write_text("by the user")
        return real(one, other)

    monkeypatch.setattr(file_write, "_exchange", exchange)
    replace_files({**NEW, **SAME}, folder)
    assert (folder / "added.txt").read_text() == "by the user"
    assert hidden(folder) == []


def test_the_current_folder_and_links_are_written_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, link = tmp_path / "out", tmp_path / "link"
    prepare(folder)()
    link.symlink_to(folder)
    replace_files(NEW, link)
    assert link.is_symlink()
    assert contents(folder) == {**NEW, **SAME, **MINE}
    monkeypatch.chdir(folder)
    identity = folder.stat().st_ino
    replace_files(OLD, Path())
    assert folder.stat().st_ino == identity
    assert contents(Path()) == {**NEW, **OLD, **SAME, **MINE}


def test_writers_of_one_folder_lose_nothing_of_each_other(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    sets = [{f"net{i}.c": b"1", f"net{i}.h": b"2", "same.h": b"3"} for i in range(8)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda files: replace_files(files, folder), sets))
    assert contents(folder) == {name: text for files in sets for name, text in files.items()}
    assert hidden(folder) == []


LIVE = """
import sys
from pathlib import Path
from deepcompress.file_write import _work_folder
with _work_folder(Path(sys.argv[1]), ".writing-", Path(sys.argv[1])):
    print("writing", flush=True)
    sys.stdin.read()
"""


def test_only_work_folders_of_dead_processes_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".writing-notes").mkdir()
    (tmp_path / ".writing-notes" / "mine.txt").write_text("of the user")
    command = [sys.executable, "-c", LIVE, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    path = str(Path(file_write.__file__).parents[1])
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, **pipes) as live:
        assert live.stdout.readline() == b"writing\n"
        replace_files({"x.c": b"1"}, tmp_path)
        assert len(list(tmp_path.glob(".writing-*/lock"))) == 1
        live.kill()
        live.wait()
        replace_files({"x.c": b"2"}, tmp_path)
    assert not list(tmp_path.glob(".writing-*/lock"))
    assert (tmp_path / ".writing-notes" / "mine.txt").read_text() == "of the user"


PARENT = """
import subprocess, sys
from deepcompress.build.parent_process import VARIABLE
import os
with subprocess.Popen(
    [sys.executable, "-c", sys.argv[1]],
    stdin=subprocess.PIPE,
    env={**os.environ, VARIABLE: "1"},
) as child:
    print(child.pid, flush=True)
    child.wait()
"""
CHILD = """
import sys, time
from deepcompress.build.parent_process import end_with_parent
end_with_parent()
assert sys.stdin.read() == ""  # a user's file that reads it does not wait
while True:
    time.sleep(0.01)
"""


def test_a_compiler_ends_when_the_process_that_started_it_is_killed() -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(file_write.__file__).parents[1])}
    command = [sys.executable, "-c", PARENT, CHILD]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as parent:
        child = int(parent.stdout.readline())
        time.sleep(0.5)
        assert parent.poll() is None
        os.kill(child, 0)  # raises if it has ended
        parent.kill()
        parent.wait()
    for _ in range(100):
        time.sleep(0.1)
        if not Path(f"/proc/{child}").exists():
            return
        if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return  # it has ended; no process waits for it
    pytest.fail("it still runs")
