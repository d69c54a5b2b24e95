"""Compiling a small network from end to end: generated files, reports and refusals."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import c_runner
import numpy as np
import pytest
import torch
from deepcompress.cli.main import main
from deepcompress.compile import compile_model
from deepcompress.errors import UserError
from deepcompress.options import Target, parse
from deepcompress.pipeline.runner import Verify
from torch import nn

SHAPE = (1, 12, 12)
SCALING = {"input_mean": "0.5", "input_std": "1"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with net.pt and calibration.npz (with labels)."""
    folder = tmp_path_factory.mktemp("project")
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(100, 3))
    program = torch.export.export(nn.Sequential(*layers).eval(), (torch.zeros(1, *SHAPE),))
    torch.export.save(program, folder / "net.pt")
    images = np.random.default_rng(0).integers(0, 256, (40, *SHAPE), dtype=np.uint8)
    np.savez(folder / "calibration.npz", inputs=images, labels=np.arange(40) % 3)
    return folder


def compiled(project: Path, target: Target | None = None, **texts: str) -> object:
    texts = {"calibration": str(project / "calibration.npz"), **SCALING, **texts}
    options = parse(texts, where="test", target=target)
    return compile_model(project / "net.pt", name="net", options=options, instruments=[Verify()])


def run_main(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_the_command_line_writes_sources_that_compile_cleanly_everywhere(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    data = project / "calibration.npz"
    scaling = ("--input-mean", 0.5, "--input-std", 1)
    arguments = ("-o", tmp_path, "--calibration", data, *scaling)
    assert run_main("compile", project / "net.pt", *arguments) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert {"net.c", "net.h", "net.hpp", "net_weights.h", "report.json", "report.html"} <= names
    for compiler in c_runner.compilers():
        command = [compiler, *c_runner.WARNINGS, "-O2", "-c", f"-I{c_runner.INCLUDE}", "net.c"]
        subprocess.run([*command, "-o", f"{compiler}.o"], cwd=tmp_path, check=True)
    screen = capsys.readouterr().out
    assert re.search(r"^0 +Conv2d 1->4 3x3 \+ max 2x2 +36 of 36 +dense", screen, re.MULTILINE)
    assert "% int8, " in screen
    assert f"{tmp_path}/: net.h for C, net.hpp for C++ (DeepCompress::Net)" in screen


def test_the_same_model_and_options_give_the_same_bytes(project: Path) -> None:
    assert compiled(project, sparsity="0.5").texts == compiled(project, sparsity="0.5").texts


def test_the_report_counts_what_the_sources_contain(project: Path) -> None:
    result = compiled(project, sparsity="0.75", encoding="delta")
    report = json.loads(result.texts["report.json"])
    header = result.texts["net_weights.h"]
    stated = re.findall(r"^/\* (\d+) bytes, ", header, re.MULTILINE)
    assert sum(map(int, stated)) == report["flash"]["weights_bytes"]
    assert report["parameters"]["count"] == 4 * 9 + 4 + 300 + 3
    assert report["parameters"]["nonzeros"] <= 9 + 75
    assert report["layers"][1]["macs"] <= 75
    assert report["ram"]["arena_bytes"] >= 144 + 100


def test_a_named_encoding_is_used_by_all_layers(project: Path) -> None:
    layers = compiled(project, encoding="panel").report["layers"]
    assert [layer["encoding"] for layer in layers if layer["weights"]] == ["panel", "panel"]


def test_classes_without_names_are_labelled_by_their_index(project: Path) -> None:
    assert re.findall(r'^ +"(.*)",$', compiled(project).texts["net.c"], re.M) == ["0", "1", "2"]
    named = compiled(project, labels="cat, dog, eel").texts["net.c"]
    assert re.findall(r'^ +"(.*)",$', named, re.M) == ["cat", "dog", "eel"]


def test_generated_files_name_no_path_date_or_host(project: Path) -> None:
    texts = compiled(project).texts
    for name, text in texts.items():
        assert str(project) not in text and "/tmp" not in text, name
        assert "20" + "26" not in text.split("static const")[0], name


def test_a_model_that_does_not_fit_is_reported_with_the_excess_and_remedies(project: Path) -> None:
    with pytest.raises(UserError) as error:
        compiled(project, target=Target(flash_limit=1200))
    assert "more than the 1,200 of the board" in error.value.what
    sparsity = re.search(
        r"With sparsity = (0\.\d+) and optimize = size it would fit", str(error.value)
    )
    fitting = {"sparsity": sparsity[1], "optimize": "size"}
    compiled(project, target=Target(flash_limit=1200), **fitting)


def test_a_board_too_small_for_any_sparsity_is_reported(project: Path) -> None:
    with pytest.raises(UserError, match="No sparsity makes it fit"):
        compiled(project, target=Target(flash_limit=600))


def test_insufficient_ram_is_reported_with_the_layer(project: Path) -> None:
    with pytest.raises(UserError, match=r"bytes of RAM, .*Input and output of layer 0 take 244"):
        compiled(project, target=Target(ram_limit=200))


def test_a_warning_says_that_ranges_are_guessed_without_data(project: Path) -> None:
    options = parse(SCALING, where="test")
    report = compile_model(project / "net.pt", name="net", options=options).report
    assert report["accuracy"] is None
    assert "no calibration data" in report["warnings"][0]


def test_accuracy_no_better_than_guessing_causes_a_warning(project: Path) -> None:
    assert "guessing one of 3 outputs" in compiled(project).report["warnings"][0]


def test_accuracy_lost_by_pruning_is_reported_with_what_to_do(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, inputs = nn.Sequential(nn.Linear(64, 3)).eval(), torch.randn(200, 64)
    torch.export.save(torch.export.export(network, (inputs[:1],)), tmp_path / "net.pt2")
    labels = network(inputs).argmax(1).numpy()
    np.savez(tmp_path / "data.npz", inputs=inputs.numpy(), labels=labels)

    def report(**texts: str) -> dict:
        options = parse({"calibration": str(tmp_path / "data.npz"), **texts}, where="test")
        return compile_model(tmp_path / "net.pt2", name="net", options=options).report

    pruned = report(sparsity="0.8")
    lost = 100 - pruned["accuracy"]["int8_percent"]
    (warning,) = pruned["warnings"]
    points = re.search(r"([\d.]+) points by pruning, (-?[\d.]+) by int8\. Lower the", warning)
    assert float(points[1]) + float(points[2]) == pytest.approx(lost, abs=0.11)
    assert report()["warnings"] == []


REFUSED = {
    "sparsity of an unknown layer": ({"sparsity": "fc9:0.5"}, "no layer fc9"),
    "more golden vectors than samples": ({"self_test": "41"}, "than the 40 samples"),
    "layers of no golden vectors": ({"self_test_layers": "yes"}, "Set self_test = 1 as well"),
    "missing labels file": ({"labels": "nothing.txt"}, "labels file nothing.txt"),
    "fewer labels than outputs": ({"labels": "cat, dog"}, "2 names, the model has 3 outputs"),
    "calibration of another shape": ({"calibration": "WRONG"}, "input is 1x12x12"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_options_are_reported(case: str, project: Path, tmp_path: Path) -> None:
    texts, complaint = REFUSED[case]
    if texts.get("calibration"):
        np.savez(tmp_path / "wrong.npz", inputs=np.zeros((2, 1, 9, 9), np.uint8))
        texts = {"calibration": str(tmp_path / "wrong.npz")}
    with pytest.raises(UserError, match=complaint):
        compiled(project, **texts)


@pytest.mark.parametrize("name", ["2fast", "with space", "int", "", "naïve"])
def test_a_model_name_that_c_does_not_allow_is_refused(name: str, project: Path) -> None:
    with pytest.raises(UserError, match="cannot be a name in C"):
        compile_model(project / "net.pt", name=name, options=parse({}, where="test"))


def test_a_mistake_is_one_paragraph_on_stderr_and_exit_code_1(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "deepcompress",
        "compile",
        "missing.pt",
        "-o",
        tmp_path / "out",
    ]
    done = subprocess.run(
        command, cwd=c_runner.ROOT / "platformio_plugin", capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("deepcompress: error: ")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_options_are_named_as_the_user_sets_them(
    project: Path, capsys: pytest.CaptureFixture
) -> None:
    command = ("compile", project / "net.pt", "-o", "out", "--input-mean", 1)
    assert run_main(*command) == 1
    assert "--input-mean is set,\n  --input-std is not" in capsys.readouterr().err
    assert run_main(*command, "--spell-options", "ini") == 1
    assert "custom_deepcompress_input_mean is set" in capsys.readouterr().err


def test_a_defect_of_ours_is_reported_and_shows_its_traceback_only_when_asked(
    project: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setattr("deepcompress.compile.fuse", lambda graph: 1 / 0)
    command = ("compile", project / "net.pt", "-o", tmp_path / "out")
    assert run_main(*command) == 2
    assert "internal error: ZeroDivisionError" in (quiet := capsys.readouterr().err)
    assert "Traceback" not in quiet
    assert run_main(*command, "--verbose") == 2
    assert "Traceback" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_unknown_flag_is_reported_with_the_nearest(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main(["compile", "net.pt", "-o", "out", "--input-maen=0.5"])
    assert "no option --input-maen (did you mean --input-mean?)" in capsys.readouterr().err


def test_help_shows_every_option_with_an_example(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main(["compile", "--help"])
    text = capsys.readouterr().out
    assert "--calibration" in text and "--sparsity" in text and "example:" in text
