"""Bad models and data files compile or are refused in one paragraph: no internal errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from deepcompress.cli import main as main_module
from deepcompress.compile import compile_model
from deepcompress.errors import UserError, guard, reason
from deepcompress.options import Options
from deepcompress.pipeline.runner import Verify
from hostile import HostileFile, bad_models, data_files

# Every so many of the cases of a kind is tried here; `make security` tries all.
_STEP = {"arguments": 12, "programs": 12, "calibration": 12, "data functions": 8}
_OTHERS = 10

# What must be in the paragraphs, by kind and name.
COMPLAINTS = {
    ("arguments", "conv2d stride 2"): r"layer 0 \(conv2d\) is damaged.*'stride'.*'str'",
    ("arguments", "conv2d dilation [0, 0]"): r"stated as \[\[1, 4, 8, 8\]\], and is \[\[1, 4, 10",
    ("arguments", "conv2d groups 3"): r"conv2d\) is damaged.*divisible by 3",
    (
        "arguments",
        "batch_norm eps -1.0",
    ): r"layer 1 \(batch_norm\): its scale is .*variance below 0",
    ("arguments", "leaky_relu negative_slope 3e+38"): r"its negative_slope is 3e\+38",
    ("arguments", "softmax dim 7"): "its input has 2 axes, not one of number 7",
    ("arguments", "layer_norm eps -1.0"): "layer norm: its values are NaN or infinity",
    ("programs", "a size of 0"): "is damaged: its result is stated as",
    ("programs", "an output that is nothing"): r"it has no output|cannot open it",
    ("modules", "_parameters is None"): "module 0 is damaged: its _parameters is a NoneType",
    ("modules", "it contains itself"): "module 11 is damaged: it contains itself",
    ("modules", "3000 nested modules"): "nested more than",
    ("modules", "a weight is of meta device"): "without values",
    ("modules", "one variance is negative"): r"\(batch_norm\): its scale is nan",
    ("modules", "weights are 3e38"): r"0\.weight hold a value of magnitude 3e\+38",
    ("modules", "shifts that cancel"): "rounding to float32 changes its results",
    ("users' files", "a BaseException of its own"): r"Stop: now, net\.py:3",
    ("users' files", "an exception without a text"): r"Mute: Mute, net\.py:4",
    ("users' files", "forward gives nothing"): "it has no output",
    ("users' files", "forward adds infinity"): "its other is inf",
    ("inputs", "no values"): "holds no values",
    ("calibration", "a member that is no array"): "it has no array `inputs`",
    ("calibration", "a header of 40 GB"): "cannot be read as an .npz",
    ("calibration", "1e20"): r"`inputs` holds 1e\+20 in sample 3; at most 1e\+18",
    ("calibration", "NaN"): "NaN or infinity, first in sample 3",
    ("calibration", "labels of classes that do not exist"): "`labels` holds 109951162777",
    ("data functions", "yields 1e20"): r"yielded inputs up to 1e\+20",
    ("data functions", "yields labels above int64"): "the label 9223372036854775810",
    ("labels", "a lone surrogate"): r"label 3, '\\udcff', contains the character",
    ("labels", "null bytes"): r"label 3, '\\x00', contains the character",
}


def chosen() -> Iterator[HostileFile]:
    """The cases with a complaint above, and some of each other kind."""
    counts: dict[str, int] = {}
    for case in (*bad_models.cases(), *data_files.cases()):
        counts[case.kind] = counts.get(case.kind, 0) + 1
        step = _STEP.get(case.kind, _OTHERS)
        if (case.kind, case.name) in COMPLAINTS or counts[case.kind] % step == 0:
            yield case


@pytest.mark.parametrize("case", chosen(), ids=lambda case: f"{case.kind}: {case.name}"[:70])
def test_it_compiles_or_is_refused_in_a_paragraph(
    case: HostileFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path, complaint = case.write(tmp_path), COMPLAINTS.get((case.kind, case.name))
    options = Options(**case.options)
    if complaint:
        with pytest.raises(UserError, match=complaint):
            compile_model(path, name="net", options=options, instruments=[Verify()])
        return
    try:
        compile_model(path, name="net", options=options, instruments=[Verify()])
    except UserError as error:
        assert len(error.paragraph()) < 1500


def test_there_are_enough_cases_and_their_names_are_unique() -> None:
    models, files = list(bad_models.cases()), list(data_files.cases())
    assert len(models) >= 150
    assert len(files) >= 40
    names = [(case.kind, case.name) for case in (*models, *files)]
    assert len(set(names)) == len(names)
    assert COMPLAINTS.keys() <= set(names)


def test_a_zip_archive_of_several_disks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    content = bad_models.changed_program("image", "model.json", lambda program: None)
    end = content.rindex(b"PK\x05\x06")
    locator = b"PK\x06\x07" + bytes(12) + (2).to_bytes(4, "little")
    path.write_bytes(content[:end] + locator + content[end:])
    with pytest.raises(UserError, match="multiple disks"):
        compile_model(path, name="net", options=Options())


class Mute(BaseException):
    """An exception whose text cannot be computed."""

    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("error", [Mute(), ZeroDivisionError("ours"), GeneratorExit()])
def test_an_exception_of_any_class_is_shown(
    error: BaseException, capsys: pytest.CaptureFixture
) -> None:
    def fails(_: object) -> int:
        raise error

    with pytest.raises(UserError, match=type(error).__name__):
        guard(lambda: fails(None), lambda found: UserError(type(found).__name__, "here", "Fix it"))
    assert main_module._defect(error, verbose=False) == 2
    assert f"internal error: {type(error).__name__}" in capsys.readouterr().err


def test_the_text_of_any_exception_is_one_short_line() -> None:
    assert reason(Mute()) == "Mute"
    assert reason(ValueError("a\x02b\x03.\nc")) == "ab"
    assert reason(RecursionError()) == "it is nested too deeply, or contains itself"
    assert reason(RuntimeError("x INTERNAL ASSERT FAILED at y")) == (
        "an internal check of torch failed"
    )
    assert len(reason(ValueError("a" * 1000))) == 160


def test_an_interruption_is_not_a_mistake_of_the_file() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        guard(interrupted, lambda error: UserError("wrong", "here", "Fix it"))
