"""The cache, without a build."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest
from deepcompress.build import cache
from deepcompress.build.cache import fetch, key_of, mirror, sweep


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_the_key_depends_on_contents_names_and_facts_but_not_on_paths_order_or_times(tmp_path):
    a, b = write(tmp_path / "x" / "a", "1"), write(tmp_path / "x" / "b", "2")
    moved = {"b": write(tmp_path / "y" / "b", "2"), "a": write(tmp_path / "z" / "a", "1")}
    files = {"a": a, "b": b}
    key = key_of(files, {"cpu": "cortex-m4", "sparsity": "0.8"})
    assert len(key) == 32
    assert key == key_of(moved, {"sparsity": "0.8", "cpu": "cortex-m4"})
    assert key != key_of(files, {"cpu": "cortex-m4", "sparsity": "0.9"})
    assert key != key_of({"a": a}, {"cpu": "cortex-m4", "sparsity": "0.8"})
    os.utime(a, (0, 0))
    assert key == key_of(files, {"cpu": "cortex-m4", "sparsity": "0.8"})
    write(a, "3")
    assert key != key_of(files, {"cpu": "cortex-m4", "sparsity": "0.8"})


def test_swapped_contents_change_the_key(tmp_path):
    a, b = write(tmp_path / "a", "1"), write(tmp_path / "b", "2")
    files = {"a": a, "b": b}
    key = key_of(files, [])
    write(a, "2")
    write(b, "1")
    assert key != key_of(files, [])


def test_a_result_is_made_once(tmp_path):
    made = []

    def make(folder):
        made.append(folder)
        write(folder / "net.c", "code")

    first, second = fetch(tmp_path, "k", make), fetch(tmp_path, "k", make)
    assert first == second == {"net.c": b"code"}
    assert (tmp_path / "k" / "net.c").read_text() == "code"
    assert len(made) == 1


def test_a_failure_leaves_the_cache_as_it_was(tmp_path):
    fetch(tmp_path, "good", lambda folder: None)

    def fail(folder):
        write(folder / "half", "")
        raise ValueError

    with pytest.raises(ValueError):
        fetch(tmp_path, "bad", fail)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good", "lock"]


def test_the_results_used_last_are_kept(tmp_path):
    for age, key in enumerate(["newest", "older", "oldest"]):
        fetch(tmp_path, key, lambda folder: None)
        os.utime(tmp_path / key, (1000 - age, 1000 - age))
    fetch(tmp_path, "oldest", lambda folder: None)
    (tmp_path / "making-abc").mkdir()
    sweep(tmp_path, kept=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "newest", "oldest"]


HOLD = """
import sys, time
from pathlib import Path
from deepcompress.file_lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def hold(tmp_path):
    """Starts a process that takes the lock, says so, and holds it: hold(seconds)."""
    started = []

    def start(seconds):
        command = [sys.executable, "-c", HOLD, str(tmp_path / "lock"), str(seconds)]
        path = {**os.environ, "PYTHONPATH": str(Path(cache.__file__).parents[2])}
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, env=path))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_lock_is_held_by_one_process_and_freed_when_the_process_is_killed(hold):
    first = hold(1000)
    assert first.stdout.readline() == b"held\n"
    second = hold(0)
    waiting, _, _ = select.select([second.stdout], [], [], 0.5)
    assert not waiting
    first.kill()
    assert second.stdout.readline() == b"held\n"


def test_a_mirror_writes_only_files_that_differ(tmp_path):
    folder = tmp_path / "generated"
    assert mirror({"a.c": b"1", "b.c": b"2"}, folder)
    os.utime(folder / "a.c", (0, 0))
    assert mirror({"a.c": b"1", "c.c": b"3"}, folder)
    assert (folder / "a.c").stat().st_mtime == 0
    assert sorted(path.name for path in folder.iterdir()) == ["a.c", "c.c"]
    assert not mirror({"a.c": b"1", "c.c": b"3"}, folder)
