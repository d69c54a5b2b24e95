"""Every kind of model file opens as the same network; other files are refused with what to do."""

from __future__ import annotations

import copy
import io
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from deepcompress.cli.main import main
from deepcompress.compile import compile_model
from deepcompress.errors import UserError
from deepcompress.execute.float_torch import forward_numpy
from deepcompress.frontend import open_graph as open_graph_module
from deepcompress.frontend.frontend import FileSignature, Frontend, ImportedLayer, LayerCallback
from deepcompress.frontend.open_graph import FRONTENDS, choose_frontend, open_graph
from deepcompress.ir.graph import Graph, Node, Tensor
from deepcompress.ops import linear
from deepcompress.options import Options
from model_files import SAVERS, SHAPE, assert_same_function, example, options
from torch import nn
from torch.nn.utils import prune


@pytest.mark.parametrize("saver", SAVERS)
def test_every_kind_is_the_same_network_with_the_users_layer_names(
    saver: str, net: nn.Module, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.pt"
    SAVERS[saver](net, path)
    assert assert_same_function(path, options(folder), net, 1e-5) == ["conv", "fc"]


class ChannelsLast(nn.Module):
    """Weights and activations in the order that vector units prefer."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(64, 5))
        self.to(memory_format=torch.channels_last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x.to(memory_format=torch.channels_last))


@pytest.mark.parametrize("saver", ["exported", "traced"])
def test_channels_last_is_the_same_network(saver: str, tmp_path: Path) -> None:
    path, net = tmp_path / "model.pt", ChannelsLast().eval()
    inputs = torch.randn(2, 3, 6, 6)
    if saver == "exported":
        torch.export.save(torch.export.export(net, (inputs[:1],)), path)
    else:
        torch.jit.trace(net, inputs[:1]).save(str(path))
    graph = open_graph(path, Options(input_shape=(3, 6, 6)), name="net")
    found = forward_numpy(graph, inputs.numpy())
    np.testing.assert_allclose(found, net(inputs).detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("width", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("saver", ["exported", "traced"])
def test_half_precision_networks_are_widened(
    saver: str, width: torch.dtype, net: nn.Module, tmp_path: Path
) -> None:
    path, narrow = tmp_path / "model.pt", copy.deepcopy(net).to(width)
    if saver == "exported":
        torch.export.save(torch.export.export(narrow, (example().to(width),)), path)
    else:
        torch.jit.trace(narrow, example().to(width)).save(str(path))
    assert_same_function(path, Options(input_shape=SHAPE), net, 0.02)


def pruned(module: nn.Module) -> nn.Module:
    """A copy as torch.nn.utils.prune leaves it: weight_orig, weight_mask and a hook."""
    module = copy.deepcopy(module)
    for layer in (module.conv, module.fc):
        prune.l1_unstructured(layer, "weight", 0.5)
    prune.ln_structured(module.fc, "weight", 0.25, n=2, dim=1)
    return module


PRUNED = {
    "exported": SAVERS["exported program"],
    "traced": SAVERS["traced TorchScript"],
    "state_dict": SAVERS["state_dict"],
    "module": torch.save,
    "module in a checkpoint": lambda net, path: torch.save({"epoch": 2, "model": net}, path),
}


@pytest.mark.parametrize("saver", PRUNED)
def test_zeros_of_torch_prune_are_found_without_its_remove(
    saver: str, plain: nn.Module, folder: Path, tmp_path: Path
) -> None:
    path, module = tmp_path / "model.pt", pruned(plain)
    PRUNED[saver](module, path)
    assert assert_same_function(path, options(folder), module, 1e-5) == ["conv", "fc"]
    graph = open_graph(path, options(folder), name="net")
    zeros = [int((n.parameters["weight"] == 0).sum()) for n in graph.nodes if n.parameters]
    assert zeros == [int((layer.weight == 0).sum()) for layer in (module.conv, module.fc)]
    assert zeros[0] == 9
    assert zeros[1] >= 12


KINDS = {
    "exported program": "exported program",
    "exported program of a GPU": "exported program",
    "traced TorchScript": "TorchScript",
}


@pytest.mark.parametrize("saver", SAVERS)
def test_torch_prints_nothing_and_the_kind_is_known_without_opening(
    saver: str, net: nn.Module, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    path = tmp_path / "model.pt"
    SAVERS[saver](net, path)
    capfd.readouterr()
    open_graph(path, options(folder), name="net")
    assert capfd.readouterr() == ("", "")
    assert choose_frontend(path).name == KINDS.get(saver.replace("scripted", "traced"), "pickle")


def test_weights_that_hold_nan_are_named(net: nn.Module, folder: Path, tmp_path: Path) -> None:
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state["fc.bias"][1] = float("nan")
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(UserError, match=r"fc\.bias hold NaN or infinity"):
        open_graph(tmp_path / "model.pt", options(folder), name="net")


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/readme.txt", "hello")


def without_a_directory(path: Path) -> None:
    """The file ends like a zip archive, but its table of contents is damaged."""
    torch.save({"a": torch.zeros(9)}, path)
    path.write_bytes(path.read_bytes().replace(b"PK\x01\x02", b"PK??"))


def truncated(path: Path) -> None:
    torch.save({"a": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])


BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (Path.touch, "it is empty"),
    "random": (
        lambda path: path.write_bytes(b"\x13\x37" * 500),
        "not a PyTorch file.*torch.export",
    ),
    "truncated": (truncated, "it is truncated"),
    "a damaged zip": (without_a_directory, "cannot open it.*save it again"),
    "ONNX": (lambda path: path.write_bytes(b"\x08\x07\x12\x07pytorch"), "like ONNX"),
    "TensorFlow Lite": (
        lambda path: path.write_bytes(b"\x1c\0\0\0TFL3" + b"\0" * 99),
        "like TensorFlow Lite",
    ),
    "a truncated old pickle": (lambda path: path.write_bytes(b"\x80\x02}q"), "cannot open it"),
    "a folder": (Path.mkdir, "it is a folder"),
    "a zip of something else": (write_zip, "not one of PyTorch's"),
    "safetensors": (lambda p: p.write_bytes(b"\x40" + b"\0" * 7 + b'{"a":1}'), "holds weights"),
    "byte 128 before no protocol": (lambda p: p.write_bytes(b"\x80" * 99), "not a PyTorch file"),
    "an .npz": (
        lambda path: np.savez(path.open("wb"), weight=np.zeros(9)),
        "not one of PyTorch's",
    ),
    "a .keras": (
        lambda path: path.write_bytes(zipped("config.json", "model.weights.h5")),
        "not one of PyTorch's",
    ),
    "Keras": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 99), "like Keras"),
    "a list": (lambda path: torch.save([1, 2], path), "it holds a list, not a network"),
    "no weights": (
        lambda p: torch.save({"epoch": 1}, p),
        "it holds a dict of epoch, not a network",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_reported_in_one_paragraph(case: str, tmp_path: Path) -> None:
    make, complaint = BAD_FILES[case]
    path = tmp_path / "model.pt"
    make(path)
    with pytest.raises(UserError, match=complaint) as error:
        open_graph(path, Options(input_shape=SHAPE), name="net")
    assert error.value.paragraph().startswith(f"model file {path}: ")


def test_a_missing_file_suggests_its_neighbour(net: nn.Module, tmp_path: Path) -> None:
    SAVERS["state_dict"](net, tmp_path / "lenet5.pt")
    with pytest.raises(UserError, match=r"no such file \(did you mean lenet5\.pt\?\)"):
        choose_frontend(tmp_path / "lenet.pt")


def test_a_name_that_cannot_be_a_file_is_reported() -> None:
    with pytest.raises(UserError, match=r"cannot be read \(File name too long\)"):
        choose_frontend(Path("a" * 300))


def test_the_module_is_imported_without_torch() -> None:
    program = "import sys, deepcompress.frontend.open_graph; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


ADVICE = {
    "ONNX": r"torch\.export.*onnx2torch\.convert",
    "TensorFlow Lite": r"Build the same network in PyTorch.*torch\.export",
    "Keras": r"Build the same network in PyTorch.*torch\.export",
    "safetensors": r"architecture = file\.py:Class",
}


@pytest.mark.parametrize("case", ADVICE)
def test_another_tools_format_is_recognized_and_the_way_to_pytorch_is_given(
    case: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.pt"
    BAD_FILES[case][0](path)
    assert choose_frontend(path).name == case
    with pytest.raises(UserError, match=ADVICE[case]):
        open_graph(path, Options(input_shape=SHAPE), name="net")


def safetensors(header_bytes: int) -> bytes:
    """A file of one weight, whose header has this size."""
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    return header_bytes.to_bytes(8, "little") + header.ljust(header_bytes) + bytes(4)


def old_pickle(protocol: int) -> bytes:
    """A state_dict as torch.save wrote it before it wrote zip archives."""
    file = io.BytesIO()
    torch.save(
        {"w": torch.zeros(1)},
        file,
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=False,
    )
    return file.getvalue()


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "text")
    return file.getvalue()


LOOKALIKES = {
    "safetensors, its size begins like a pickle": (safetensors(0x280), "safetensors"),
    "safetensors, its size begins like ONNX": (safetensors(0x108), "safetensors"),
    "TensorFlow Lite, its offset begins like a pickle": (b"\x80\x02\0\0TFL3", "TensorFlow Lite"),
    "TensorFlow Lite, its offset begins like ONNX": (b"\x08\x01\0\0TFL3", "TensorFlow Lite"),
    "TensorFlow Lite with metadata": (
        b"\x1c\0\0\0TFL3" + bytes(99) + zipped("labels.txt"),
        "TensorFlow Lite",
    ),
    "a pickle of protocol 2": (old_pickle(2), "pickle"),
    "a pickle of protocol 4": (old_pickle(4), "pickle"),
    "a pickle of protocol 5": (old_pickle(5), "pickle"),
}


@pytest.mark.parametrize("case", LOOKALIKES)
def test_a_file_that_begins_like_another_kind_is_recognized(case: str, tmp_path: Path) -> None:
    content, kind = LOOKALIKES[case]
    (tmp_path / "model.pt").write_bytes(content)
    assert choose_frontend(tmp_path / "model.pt").name == kind


def test_safetensors_are_recognized_whatever_their_size() -> None:
    for size in range(2, 1 << 16):
        head = size.to_bytes(8, "little") + b'{"w":{"d'
        file = FileSignature(Path("model.pt"), head, None)
        assert next(f.name for f in FRONTENDS if f.recognizes(file)) == "safetensors", size


def open_table(path: Path, options: Options, *, name: str, layer: LayerCallback) -> Graph:
    """A front end's `open` for a text file: a matrix whose rows are the weights of one layer."""
    _, *rows = path.read_text().splitlines()
    weight = np.array([row.split() for row in rows], np.float32)
    outputs, inputs = weight.shape
    layer(ImportedLayer("fc", "matrix", (outputs,), weight.size, inputs + outputs, ("fc",)))
    tensors = {"x": Tensor("x", (inputs,)), "y": Tensor("y", (outputs,))}
    parameters = {"weight": weight, "bias": np.zeros(outputs, np.float32)}
    node = Node("fc", "linear", ("x",), "y", linear.Linear(inputs, outputs), parameters)
    return Graph(name, tensors, (node,), ("x",), ("y",))


TABLE = Frontend(
    "table", lambda file: file.head.startswith(b"matrix\n"), open_table, uses_torch=False
)


def test_a_new_kind_of_file_is_one_row_and_compiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.txt"
    path.write_text("matrix\n1 -1 0.5\n0 2 0.25\n")
    with pytest.raises(UserError, match="not a PyTorch file"):
        choose_frontend(path)
    monkeypatch.setattr(open_graph_module, "FRONTENDS", (*FRONTENDS, TABLE))
    assert choose_frontend(path) is TABLE
    compiled = compile_model(path, name="net", options=Options())
    scores = forward_numpy(compiled.graph, np.array([[2, 1, 4]], np.float32))
    np.testing.assert_allclose(scores, [[3, 3]])
    assert "net_fc" in compiled.texts["net.c"]


def test_the_layers_of_a_new_kind_of_file_are_reported_by_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "net.txt"
    path.write_text("matrix\n1 -1 0.5\n0 2 0.25\n")
    monkeypatch.setattr(open_graph_module, "FRONTENDS", (*FRONTENDS, TABLE))
    assert main(["check", str(path)]) == 0
    assert capsys.readouterr().out.splitlines()[2].split()[:4] == ["fc", "matrix", "2", "6"]
