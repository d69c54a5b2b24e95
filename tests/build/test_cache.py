"""The cache, without a build."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from deepcompress.build import cache
from deepcompress.build.cache import Unusable, fetch, key_of, mirror, sweep
from killed_process import killed_at_each_operation


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


def make_net(folder):
    for name, text in (("net.c", "code"), ("net.h", "int net;"), ("report.json", "{}")):
        write(folder / name, text)


CONTENTS = {"net.c": b"code", "net.h": b"int net;", "report.json": b"{}"}


def fetched(store):
    """The contents of the entry "k", and the reasons why it was made again."""
    reasons = []
    contents = fetch(store, "k", make_net, say=reasons.append)
    return contents, reasons


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


DAMAGES = {
    "flipped": flip,
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "emptied": lambda path: path.write_bytes(b""),
    "deleted": lambda path: path.unlink(),
    "appended to": lambda path: path.write_bytes(path.read_bytes() + b"\n"),
    "replaced by a folder": lambda path: (path.unlink(), path.mkdir()),
    "replaced by a link to nowhere": lambda path: (path.unlink(), path.symlink_to("nowhere")),
}


@pytest.mark.parametrize("name", [*CONTENTS, "manifest.json"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_found_and_made_again(tmp_path, name, damage):
    fetched(tmp_path)
    assert fetched(tmp_path) == (CONTENTS, [])
    DAMAGES[damage](tmp_path / "k" / name)
    contents, reasons = fetched(tmp_path)
    assert contents == CONTENTS
    assert len(reasons) == 1
    assert fetched(tmp_path) == (CONTENTS, [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["k", "lock"]


def empty_folder(entry):
    shutil.rmtree(entry)
    entry.mkdir()


def file_for_a_folder(entry):
    shutil.rmtree(entry)
    entry.write_text("")


def link_to_nowhere(entry):
    shutil.rmtree(entry)
    entry.symlink_to("nowhere")


def entry_of_another_key(entry):
    fetch(entry.parent, "other", lambda folder: write(folder / "net.c", "other code"))
    shutil.rmtree(entry)
    (entry.parent / "other").rename(entry)


DAMAGED_ENTRIES = {
    "an empty folder": empty_folder,
    "a file": file_for_a_folder,
    "a link to nowhere": link_to_nowhere,
    "the entry of another key": entry_of_another_key,
    "an added file": lambda entry: write(entry / "more.c", "code"),
    "an added folder": lambda entry: (entry / "more").mkdir(),
    "a manifest of nested lists": lambda entry: write(entry / "manifest.json", "[" * 100_000),
    "a manifest of another type": lambda entry: write(entry / "manifest.json", "[1]"),
    "a manifest with other spaces": lambda entry: write(
        entry / "manifest.json", (entry / "manifest.json").read_text().replace(" ", "  ", 1)
    ),
}


@pytest.mark.parametrize("damage", DAMAGED_ENTRIES)
def test_a_damaged_entry_is_found_and_made_again(tmp_path, damage):
    fetched(tmp_path)
    DAMAGED_ENTRIES[damage](tmp_path / "k")
    contents, reasons = fetched(tmp_path)
    assert contents == CONTENTS
    assert len(reasons) == 1
    assert fetched(tmp_path) == (CONTENTS, [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["k", "lock"]


def test_the_reason_names_the_damaged_files(tmp_path):
    fetched(tmp_path)
    flip(tmp_path / "k" / "net.c")
    (tmp_path / "k" / "net.h").unlink()
    assert fetched(tmp_path)[1] == ["has a missing, damaged or added file: net.c, net.h"]


def test_a_result_that_is_no_longer_valid_is_made_again(tmp_path):
    fetched(tmp_path)
    reasons, made = [], []

    def outdated(contents):
        assert contents == CONTENTS
        if not made:
            raise Unusable("is of yesterday")

    def make(folder):
        made.append(make_net(folder))

    assert fetch(tmp_path, "k", make, check=outdated, say=reasons.append) == CONTENTS
    assert (reasons, len(made)) == (["is of yesterday"], 1)


def test_a_kill_at_any_operation_leaves_a_cache_that_works(tmp_path):
    store = tmp_path / "store"

    def prepare():
        shutil.rmtree(store, ignore_errors=True)
        fetched(store)
        flip(store / "k" / "net.c")

    steps = 0
    for _ in killed_at_each_operation(prepare, lambda: fetched(store)):
        steps += 1
        assert fetched(store)[0] == CONTENTS
        fetch(store, "another", make_net)  # a compilation sweeps
        assert sorted(path.name for path in store.iterdir()) == ["another", "k", "lock"]
    assert steps > 10


def test_a_kill_at_any_operation_of_a_mirror_is_repaired_by_the_next(tmp_path):
    folder = tmp_path / "generated"
    old, new = {"net.c": b"1", "net.h": b"2", "old.h": b""}, {"net.c": b"3", "net.h": b"4"}
    steps = 0
    for _ in killed_at_each_operation(lambda: mirror(old, folder), lambda: mirror(new, folder)):
        steps += 1
        left = {path.name: path.read_bytes() for path in folder.iterdir()}
        # Make runs the generator again if the .c is missing or older than the model.
        if left.get("net.c") == b"3":
            assert left == new
        mirror(new, folder)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == new
    assert steps > 5


def test_leftovers_are_removed_when_a_result_is_used_unless_a_build_may_own_them(tmp_path, hold):
    fetched(tmp_path)
    (tmp_path / "making-abc").mkdir()
    holder = hold(1000)
    assert holder.stdout.readline() == b"held\n"
    fetched(tmp_path)
    assert (tmp_path / "making-abc").exists()
    holder.kill()
    holder.wait()
    fetched(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["k", "lock"]


def test_a_folder_in_a_mirror_is_removed(tmp_path):
    (tmp_path / "generated" / "left" / "over").mkdir(parents=True)
    assert mirror({"net.c": b""}, tmp_path / "generated")
    assert [path.name for path in (tmp_path / "generated").iterdir()] == ["net.c"]


MIRROR = """
import sys
from pathlib import Path
from deepcompress.build.cache import fetch, mirror
def make(folder):
    for name in ("net.c", "net.h"):
        (folder / name).write_text("code" * 1000)
    with open(sys.argv[2], "a") as file:
        file.write("made\\n")
for key in "abcdefgh":
    contents = fetch(Path(sys.argv[1]), key, make)
    for size in range(20):
        mirror({**contents, "net.c": b"x" * size}, Path(sys.argv[1], "..", "generated"))
"""


def test_processes_at_once_make_each_result_once_and_mirror_it(tmp_path):
    command = [sys.executable, "-c", MIRROR, str(tmp_path / "store"), str(tmp_path / "notes")]
    path = {**os.environ, "PYTHONPATH": str(Path(cache.__file__).parents[2])}
    (tmp_path / "store").mkdir()
    running = [subprocess.Popen(command, env=path, stderr=subprocess.PIPE) for _ in range(4)]
    for process in running:
        _, errors = process.communicate()
        assert (process.returncode, errors) == (0, b"")
    assert (tmp_path / "notes").read_text() == 8 * "made\n"
    names = {path.name for path in (tmp_path / "generated").iterdir()}
    assert names == {"net.c", "net.h"}


def test_a_lock_whose_folder_was_deleted_is_not_a_lock(tmp_path, hold):
    first = hold(1000)
    assert first.stdout.readline() == b"held\n"
    waiting = hold(0)
    waiting_in_vain, _, _ = select.select([waiting.stdout], [], [], 0.5)
    assert not waiting_in_vain
    (tmp_path / "lock").unlink()
    second = hold(1000)
    assert second.stdout.readline() == b"held\n"  # of a new file
    first.kill()
    still_waiting, _, _ = select.select([waiting.stdout], [], [], 0.5)
    assert not still_waiting
    second.kill()
    assert waiting.stdout.readline() == b"held\n"
