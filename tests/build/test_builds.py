"""`pio run` compiles the models named in platformio.ini; the compiler is a fake."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from user_project import SKETCH, Project, copy_library

MODEL = "custom_deepcompress_model = models/net.pt"


def files_under(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_model_becomes_code_that_the_firmware_links(project):
    output = project.build()
    assert "net: compressing é net.pt" in output
    assert project.value() == "value 7"


def test_nothing_is_written_into_the_library(project, library):
    before = files_under(library)
    project.build()
    assert files_under(library) == before


def test_a_second_build_starts_no_compiler_and_imports_no_torch(project):
    project.build()
    for package in ("torch", "numpy", "jinja2"):
        project.write(f"poison/{package}.py", "raise SystemExit('imported at a no-op')\n")
    project.write("fake/python", "#!/bin/sh\nkill -9 $PPID\n")
    built = project.pio("run", "-v", PYTHONPATH=str(project.folder / "poison"))
    assert built.returncode == 0, built.stderr
    assert "net: hash" in built.stdout
    assert "fake" not in built.stderr
    assert "-o .pio/build/native/deepcompress/models/net.o" not in built.stdout
    assert len(project.calls()) == 1


def test_a_second_build_repeats_the_summary_and_the_warnings(project):
    line = "net: unchanged; flash 1,701 B, RAM 240 B, 1,252 cycles"
    assert line not in project.build()
    lines = project.build().splitlines()
    assert lines[lines.index(line) + 1] == "warning   3 of 4 wheels"


def test_verbose_prints_the_time_of_each_step(project):
    steps = [line for line in project.build("-v").splitlines() if line.endswith(" ms")]
    assert [step.split(": ")[1].split()[0] for step in steps] == ["net", "net", "copy"]
    assert "--verbose" in project.calls()[0]


def test_a_touched_model_is_not_compiled_again(project):
    project.build()
    os.utime(project.folder / "models" / "net.pt", (0, 0))
    project.build()
    assert len(project.calls()) == 1


def test_a_changed_model_is_compiled_and_one_changed_back_comes_from_the_cache(project):
    project.build()
    project.write("models/net.pt", "8")
    project.build()
    assert project.value() == "value 8"
    project.write("models/net.pt", "7")
    project.build()
    assert project.value() == "value 7"
    assert len(project.calls()) == 2


def test_an_edited_option_compiles_again_and_another_python_does_not(project):
    project.build()
    project.configure(f"{MODEL}\ncustom_deepcompress_sparsity = 0.5")
    project.build()
    assert project.calls()[1][-1] == "--sparsity=0.5"
    other = f"{MODEL}\ncustom_deepcompress_sparsity = 0.5\nmonitor_speed = 9600"
    project.configure(other)
    shutil.copytree(project.fake, project.folder / "other")
    text = (project.folder / "platformio.ini").read_text()
    project.write("platformio.ini", text.replace("fake/python", "other/python"))
    project.build()
    assert len(project.calls()) == 2


@pytest.mark.parametrize(
    ("option", "file"),
    [
        ("calibration = data/some.npz", "data/some.npz"),
        ("labels = data/labels.txt", "data/labels.txt"),
        ("architecture = models/net.py:Net", "models/net.py"),
        ("architecture = models/net.py:Net", "models/layers.py"),
        ("data = data/train.npz", "data/train.npz"),
        ("data = models/train.py:batches", "models/train.py"),
    ],
)
def test_a_file_that_an_option_names_is_part_of_the_key(project, option, file):
    project.write("models/net.py", "")
    project.write(file, "one")
    project.configure(f"{MODEL}\ncustom_deepcompress_{option}")
    project.build()
    project.write(file, "two")
    project.build()
    assert len(project.calls()) == 2


def test_the_study_of_retraining_is_next_to_the_cache_and_its_path_is_not_in_the_key(project):
    retrain = f"{MODEL}\ncustom_deepcompress_retrain = yes"
    project.configure(retrain)
    project.build()
    study = project.folder / ".pio" / "deepcompress-net.study"
    assert project.calls()[0][-1] == f"--study={study}"
    project.configure(f"{retrain}\ncustom_deepcompress_study = elsewhere")
    project.build()
    assert len(project.calls()) == 1


def test_a_newer_compiler_compiles_again(project, tmp_path):
    copy_library(tmp_path / "copy")
    project.configure(MODEL, lib_deps=f"symlink://{tmp_path / 'copy'}")
    project.build()
    with (tmp_path / "copy/platformio_plugin/deepcompress/passes/quantize.py").open("a") as file:
        file.write("# newer\n")
    project.build()
    assert len(project.calls()) == 2


def test_an_edited_generated_file_is_restored(project):
    project.build()
    (project.generated() / "net.c").write_text("edited")
    (project.generated() / "old.c").write_text("left over")
    project.build()
    assert project.value() == "value 7"
    assert not (project.generated() / "old.c").exists()
    assert len(project.calls()) == 1


def test_a_build_killed_half_way_does_not_affect_the_next_build(project):
    project.mood("killed")
    assert project.pio("run").returncode != 0
    assert list(project.cache().glob("making-*"))
    project.mood("well")
    project.build()
    assert project.value() == "value 7"
    assert not list(project.cache().glob("making-*"))


def test_a_file_that_code_of_the_user_read_is_part_of_the_key(project):
    project.write("data/more/numbers.csv", "1")
    project.mood("reading data/more/numbers.csv")
    project.build()
    project.build()
    assert len(project.calls()) == 1
    project.write("data/more/numbers.csv", "2")
    line = "net: the cached result was compiled before data/more/numbers.csv changed"
    assert f"{line}; compiling it again" in project.build()
    assert len(project.calls()) == 2


@pytest.mark.parametrize("name", ["net.c", "report.json"])
def test_a_damaged_result_is_compiled_again_with_a_line_that_says_so(project, name):
    project.build()
    (cached,) = project.cache().glob(f"*/{name}")
    cached.write_bytes(cached.read_bytes()[:-2] + b"#")
    line = f"net: the cached result has a missing, damaged or added file: {name}"
    assert f"{line}; compiling it again" in project.build()
    assert project.value() == "value 7"
    assert len(project.calls()) == 2
    project.build()
    assert len(project.calls()) == 2


def test_a_model_that_changes_while_it_is_compiled_is_compiled_again(project):
    project.mood("changing the model")
    assert "net: a file changed while it was read; compiling it again" in project.build()
    assert project.value() == "value 8"
    assert len(project.calls()) == 2
    assert len(list(project.cache().glob("*/net.c"))) == 1


def test_several_builds_of_one_environment_at_once_succeed(project):
    project.build()
    shutil.rmtree(project.cache())
    shutil.rmtree(project.generated())
    project.mood("slow")
    with ThreadPoolExecutor() as pool:
        outputs = list(pool.map(lambda _: project.build(), range(3)))
    assert sum("compressing" in output for output in outputs) == 1
    assert sum("waiting for another build" in output for output in outputs) == 2
    assert project.value() == "value 7"


def processes_in(folder):
    """Command lines of processes whose current folder this is, by process."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (entry / "cwd").resolve() == folder.resolve():
                found[int(entry.name)] = (entry / "cmdline").read_bytes()
    return found


def wait_until(condition):
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_if_pio_is_killed_its_build_and_the_compiler_end(project):
    project.mood("endless")
    with ThreadPoolExecutor(1) as pool:
        pool.submit(project.pio, "run")
        wait_until(project.calls)
        running = processes_in(project.folder)
        (pio,) = (pid for pid, command in running.items() if b"-m\0platformio\0run" in command)
        assert len(running) > 1
        os.kill(pio, signal.SIGKILL)
        wait_until(lambda: not processes_in(project.folder))
    project.mood("well")
    project.build()
    assert project.value() == "value 7"
    assert not list(project.cache().glob("making-*"))


def test_two_environments_share_one_result(project):
    project.configure(MODEL, sections="[env:one]\n[env:two]")
    project.build()
    assert [project.value("one"), project.value("two")] == ["value 7", "value 7"]
    assert len(project.calls()) == 1


def test_two_builds_at_once_compile_once(project):
    project.configure(MODEL, sections="[env:one]\n[env:two]")
    project.build()  # the first build of a project has a race in PlatformIO itself
    shutil.rmtree(project.cache())
    project.mood("slow")
    with ThreadPoolExecutor() as pool:
        outputs = list(pool.map(lambda name: project.build("-e", name), ("one", "two")))
    assert sum("compressing" in output for output in outputs) == 1
    assert len(project.calls()) == 2


def test_several_models_have_names_and_options_of_their_own(project):
    project.write("models/other.pt", "8")
    project.write("src/main.cpp", SKETCH.replace("net_value()", "net_value() + second_value()"))
    project.configure(
        "custom_deepcompress_model =\n  net = models/net.pt\n  second = models/other.pt\n"
        "custom_deepcompress_sparsity =\n  second = conv1:0.9\n"
        "custom_deepcompress_encoding = delta"
    )
    project.build()
    assert project.value() == "value 15"
    options = [[flag for flag in call if "=" in flag] for call in project.calls()]
    assert options == [["--encoding=delta"], ["--sparsity=conv1:0.9", "--encoding=delta"]]


def test_c_firmware_includes_a_models_own_header(project):
    (project.folder / "src/main.cpp").unlink()
    sketch = SKETCH.replace("DeepCompress.h", "DeepCompressModels.h").replace(
        "main()", "main(void)"
    )
    project.write("src/main.c", sketch)
    project.build()
    assert project.value() == "value 7"


def test_spaces_and_accents_in_paths_with_the_library_in_lib(pio, tmp_path, library):
    project = Project(tmp_path / "un dossier à moi", pio, library)
    copy_library(project.folder / "lib" / "DeepCompress")
    project.write("modèles/un réseau.pt", "9")
    project.write("src/main.cpp", SKETCH.replace("net_value", "un_reseau_value"))
    project.configure("custom_deepcompress_model = modèles/un réseau.pt", lib_deps="")
    project.build()
    assert project.value() == "value 9"


def test_a_library_visible_twice_is_built_once(project):
    copy_library(project.folder / "lib" / "DeepCompress")
    built = project.pio("run")
    assert built.returncode == 0
    assert built.stderr == ""  # SCons would warn of two environments for one file
    assert project.value() == "value 7"
    assert len(project.calls()) == 1


def test_the_sketch_finds_the_headers_if_the_dependency_finder_is_off(project):
    project.configure(f"{MODEL}\nlib_ldf_mode = off")
    project.build()
    assert project.value() == "value 7"


@pytest.mark.parametrize("setting", ["", MODEL + "\nlib_ignore = DeepCompress"])
def test_nothing_happens_if_no_model_is_named_or_the_library_is_ignored(project, setting):
    project.write("src/main.cpp", "int main() { return 0; }\n")
    project.configure(setting)
    assert "deepcompress" not in project.build("-s")
    assert not project.cache().exists()
    assert not project.generated().exists()


def test_the_header_without_a_model_names_the_option_to_set(project):
    project.configure("")
    built = project.pio("run")
    assert built.returncode != 0
    assert "custom_deepcompress_model = net.pt" in built.stderr


def test_kernels_are_optimised_if_the_framework_is_not(project):
    def flags(setting):
        project.configure(f"{MODEL}\nbuild_flags = -Os -DMINE\n{setting}")
        lines = project.build("-v").splitlines()
        line = next(line for line in lines if "models/net.o" in line)
        return [word for word in line.split() if word.startswith("-O") or word == "-DMINE"]

    assert flags("") == ["-O2", "-DMINE"]
    assert flags("build_type = debug") == ["-O2", "-DMINE"]
    assert flags("custom_deepcompress_optimize = size") == ["-Os", "-DMINE"]


def test_the_boards_numbers_reach_the_compiler(project, arm_tools):
    project.configure(
        f"{MODEL}\nboard_build.f_cpu = 84000000L", sections="[env:m]\nboard=virtual_m4"
    )
    project.build("-t", "idedata")
    call = project.calls()[0]
    board = dict(zip(call[8::2], call[9::2], strict=True))
    assert board["--cpu"] == "cortex-m4"
    assert int(board["--flash-limit"]) == int(board["--ram-limit"]) == 4 << 20
    assert board["--clock-hz"] == "84000000"


def test_the_pc_has_no_limits(project):
    project.build()
    assert project.calls()[0][8:] == ["--cpu", "host"]


@pytest.mark.parametrize("target", ["idedata", "compiledb"])
def test_an_ide_finds_the_headers_of_a_fresh_tree(project, target):
    output = project.build("-t", target)
    assert (project.generated() / "net.hpp").is_file()
    if target == "compiledb":
        output = (project.folder / "compile_commands.json").read_text()
        assert any(entry["file"].endswith("net.c") for entry in json.loads(output))
    assert "deepcompress/generated" in output


def test_an_error_is_printed_and_does_not_end_indexing(project):
    project.write("models/net.pt", "7")
    (project.folder / "models/net.pt").unlink()
    indexed = project.pio("run", "-t", "idedata")
    assert indexed.returncode == 0
    assert "there is no model file" in indexed.stderr
    assert '"includes":' in indexed.stdout
