"""`deepcompress check` lists all layers, says what fits, and reports bad input in a paragraph."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from deepcompress.cli.main import main
from deepcompress.errors import UserError
from deepcompress.frontend.frontend import ImportedLayer
from deepcompress.frontend.fx_importer import import_graph
from deepcompress.frontend.unsupported_ops import advice_for
from torch import nn

SHAPE = (1, 8, 8)
ARCHITECTURE = """
import torch
from torch import nn

class Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, 3)

    def forward(self, x):
        x = self.fc(x.flatten(1))
        return x if x.sum() > 0 else -x

class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = Gate()

    def forward(self, x):
        return self.gate(x)
"""


class Odd(nn.Module):
    """Three unsupported calls, one of them twice, between supported ones."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.fc = nn.Linear(144, 10)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.cumsum(torch.relu(self.conv(x)), 1)
        values, _ = torch.sort(torch.cumsum(x, 2).flatten(1))
        return self.fc(values), nn.functional.unfold(x, 2)


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 5)
    ).eval()


def saved(module: nn.Module, folder: Path, **options: object) -> Path:
    path = folder / "net.pt2"
    example = (torch.zeros(2 if options else 1, *SHAPE),)
    torch.export.save(torch.export.export(module.eval(), example, **options), path)
    return path


@pytest.fixture
def check(capsys: pytest.CaptureFixture) -> object:
    """check(path, flags...) -> exit code, stdout's lines, stderr."""

    def run(*arguments: object) -> tuple[int, list[str], str]:
        code = main(["check", *map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out.splitlines(), said.err

    return run


def cells(line: str) -> list[str]:
    return re.split(r"  +", line.strip())


def test_a_network_that_fits_is_listed_with_sizes_and_a_note_on_random_inputs(
    check: object, tmp_path: Path
) -> None:
    code, lines, _ = check(saved(small(), tmp_path), "--board", "nucleo_f446re")
    assert code == 0
    assert cells(lines[2])[:4] == ["0", "conv2d", "4x6x6", "40"]
    assert cells(lines[3]) == ["1", "relu", "4x6x6", "yes"]  # fused into the convolution
    assert cells(lines[6])[:4] == ["4", "linear", "5", "185"]
    text = "\n".join(lines)
    assert re.search(r"^flash +about [\d,]+ B; 0\.\d% of the board's 524,288: fits$", text, re.M)
    assert re.search(r"^RAM +about [\d,]+ B; \d\.\d% of the board's 131,072: fits$", text, re.M)
    assert re.search(r"^cycles +about [\d,]+ on cortex-m4, \d\.\d ms at 180 MHz$", text, re.M)
    assert re.search(r"^note +without calibration data, random inputs were used", text, re.M)


def test_the_listed_sizes_are_those_that_compiling_reports(check: object, tmp_path: Path) -> None:
    path = saved(small(), tmp_path)
    _, lines, _ = check(path, "--sparsity", "0.5", "--cpu", "cortex-m0plus")
    assert main(["compile", str(path), "-o", str(tmp_path / "out"), "--sparsity", "0.5",
                 "--cpu", "cortex-m0plus"]) == 0  # fmt: skip
    report = (tmp_path / "out" / "report.json").read_text()
    total = re.search(r"about ([\d,]+) B", "\n".join(lines))[1].replace(",", "")
    assert f'"total_bytes": {total},' in report


def test_with_calibration_data_no_random_inputs_are_used(check: object, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", inputs=np.zeros((3, *SHAPE), np.float32))
    _, lines, _ = check(saved(small(), tmp_path), "--calibration", tmp_path / "data.npz")
    assert not any("random inputs" in line for line in lines)


def test_every_unsupported_layer_is_listed_with_its_reason_and_what_works(
    check: object, tmp_path: Path
) -> None:
    code, lines, _ = check(saved(Odd(), tmp_path), "--board", "bluepill_f103c8")
    assert code == 1
    verdicts = [(cells(line)[1], cells(line)[-1]) for line in lines[2 : lines.index("")]]
    assert verdicts == [
        ("conv2d", "yes"),
        ("relu", "yes"),
        ("cumsum", "no (1)"),
        ("cumsum", "no (1)"),
        ("flatten", "yes"),
        ("sort", "no (2)"),
        ("linear", "yes"),
        ("im2col", "no (3)"),
    ]
    text = " ".join(" ".join(lines).split())
    assert re.search(r"\(1\) layer cumsum \(cumsum\), test_check\.py:\d+, and 1 more: ", text)
    assert "the operator cumsum is not supported. Use nn.GRU" in text
    assert re.search(r"\(2\) layer sort \(sort\), test_check\.py:\d+: .* in the firmware", text)
    assert re.search(r"\(3\) layer im2col .* Use nn\.Conv2d with fixed weights", text)
    assert "flash 1,490 B of int8 parameters; 2.3% of the board's 65,536: fits" in text
    assert max(map(len, lines)) <= 100


def test_attention_is_reported_as_one_problem(check: object, tmp_path: Path) -> None:
    net, path = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval(), tmp_path / "net.pt2"
    torch.export.save(torch.export.export(net, (torch.zeros(1, 5, 8),)), path)
    _, lines, _ = check(path)
    problems = [line for line in lines if line.startswith("(")]
    assert len(problems) == 1
    assert "nn.MultiheadAttention is not supported. Use nn.GRU" in " ".join("".join(lines).split())


def test_compiling_names_the_first_unsupported_layer_and_counts_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["compile", str(saved(Odd(), tmp_path)), "-o", str(tmp_path)]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "layer cumsum (cumsum)" in said
    assert "3 more of its calls are not supported: see `deepcompress check`" in said


def test_a_network_that_does_not_fit_is_reported_for_flash_and_ram_with_remedies(
    check: object, tmp_path: Path
) -> None:
    path = saved(nn.Sequential(nn.Conv2d(1, 64, 3), nn.Flatten(), nn.Linear(2304, 8)), tmp_path)
    code, lines, _ = check(path, "--flash-limit", "12000", "--ram-limit", "1500")
    text = " ".join(" ".join(lines).split())
    assert code == 1
    assert text.count("DOES NOT FIT") == 2
    assert re.search(r"\(1\) model net: it needs [\d,]+ bytes of flash, .* --sparsity 0\.\d+", text)
    assert re.search(r"\(2\) model net: it needs [\d,]+ bytes of RAM, .* smaller input", text)


def test_a_network_far_too_large_is_reported_without_encoding_it(
    check: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepcompress.cli.survey.graph_to_plan", None)
    path = saved(nn.Sequential(nn.Flatten(), nn.Linear(64, 5000)), tmp_path)
    code, lines, _ = check(path, "--board", "nucleo_l053r8", "--flash-limit", "20000")
    text = " ".join(" ".join(lines).split())
    assert code == 1
    assert "flash 325,000 B of int8 parameters; 1625.0% of the board's 20,000: DOES NOT FIT" in text
    assert "with a bit for each, which no encoding reaches" in text
    assert "a byte a weight leaves room for 6.2% of them" in text


def test_a_large_network_without_a_limit_is_not_encoded_either(
    check: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepcompress.cli.survey.graph_to_plan", None)
    monkeypatch.setattr("deepcompress.cli.survey._MANY", 100)
    code, lines, _ = check(saved(small(), tmp_path))
    assert code == 0
    assert lines[8] == "flash     225 B of int8 parameters"


def branch(folder: Path) -> list[object]:
    (folder / "model.py").write_text(ARCHITECTURE)
    state = {"gate.fc.weight": torch.zeros(3, 64), "gate.fc.bias": torch.zeros(3)}
    torch.save(state, folder / "net.pt")
    return [folder / "net.pt", "--input-shape=1,8,8", f"--architecture={folder}/model.py:Gated"]


def dynamic(folder: Path) -> list[object]:
    sizes = {0: torch.export.Dim("batch"), 2: torch.export.Dim("height", min=4)}
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1))
    return [saved(module, folder, dynamic_shapes=(sizes,))]


def volumes(folder: Path) -> list[object]:
    path = folder / "net.pt2"
    net = nn.Sequential(nn.Conv3d(1, 2, 3), nn.ReLU()).eval()
    torch.export.save(torch.export.export(net, (torch.zeros(1, 1, 4, 4, 4),)), path)
    return [path]


def text_file(folder: Path) -> list[object]:
    (folder / "notes.pt").write_text("weights are on the other disk")
    return [folder / "notes.pt"]


def empty(folder: Path) -> list[object]:
    (folder / "net.pt").touch()
    return [folder / "net.pt"]


BAD = {
    "a branch": (
        branch,
        r"at layer gate, model\.py:12 \(its path depends on the values of a tensor"
        r"\)\. .* compute both ways",
    ),
    "a dynamic shape": (dynamic, r"tensor input: its shape .* is dynamic.*with --input-shape"),
    "an input of rank 5": (
        volumes,
        r"layer 0 \(conv3d\).*not supported\. Put the frames into "
        r"channels next to each other",
    ),
    "no model": (text_file, r"notes\.pt: it is not a PyTorch file.*torch\.export\.save"),
    "an empty file": (empty, r"net\.pt: it is empty\. Save the model again"),
    "a missing file": (lambda folder: [folder / "net.pt"], r"there is no such file"),
    "an unknown board": (
        lambda folder: [saved(small(), folder), "--board", "nucleo_f447re"],
        r"no board is called 'nucleo_f447re' \(did you mean nucleo_f446re\?\)",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_paragraph_and_never_a_traceback(
    case: str, check: object, tmp_path: Path
) -> None:
    make, complaint = BAD[case]
    code, lines, err = check(*make(tmp_path))
    assert code == 1
    message = " ".join([*lines, err]).split()
    assert re.search(complaint, " ".join(message))
    assert "Traceback" not in message
    if not lines:
        assert err.startswith("deepcompress: error: ")
        assert "\n\n" not in err


def test_a_dynamic_shape_takes_the_size_of_the_option(check: object, tmp_path: Path) -> None:
    code, lines, _ = check(*dynamic(tmp_path), "--input-shape", "1,10,8")
    assert code == 0
    assert cells(lines[2])[2] == "2x8x6"


def test_a_call_that_reads_a_number_computed_at_run_time_is_refused() -> None:
    class Scaled(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * x.sum(3).flatten(1)[0, 0].item()

    program = torch.export.export(Scaled(), (torch.zeros(1, *SHAPE),), strict=False)
    layers: list[ImportedLayer] = []
    with pytest.raises(UserError):
        import_graph(program, name="net", layer=layers.append)
    assert layers[-1].op == "mul"
    assert layers[-1].problem.what == "its other is computed while the network runs"


def test_advice_for_a_call_comes_before_the_default_advice() -> None:
    assert advice_for("rand", default="Store it") == "Store it"
    assert advice_for("sort", default="Store it").startswith("Do it in the firmware")


def test_a_network_that_is_still_in_quantization_aware_training_must_be_converted(
    check: object, tmp_path: Path
) -> None:
    class Trained(nn.Module):
        """What torch's own fake quantizers export while their observers are enabled."""

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("on", torch.ones(1, dtype=torch.int64))
            for name in ("low", "high", "scale"):
                self.register_buffer(name, torch.ones(1))
            self.register_buffer("zero_point", torch.zeros(1, dtype=torch.int32))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.fused_moving_avg_obs_fake_quant(
                x, self.on, self.on, self.low, self.high, self.scale, self.zero_point,
                0.01, -128, 127, 0, False, False,
            )  # fmt: skip

    code, lines, _ = check(saved(Trained(), tmp_path))
    assert code == 1
    assert "Convert the model (convert_pt2e) before it is exported" in " ".join(
        "".join(lines).split()
    )


def test_an_unknown_call_is_reported_with_the_nearest_name() -> None:
    assert advice_for("softmaxx").endswith("(did you mean softmax?)")
