"""Every kind of `.pt` opens to the same network; no kind runs code; each bad file is told."""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from string import Template

import numpy as np
import pytest
import torch
from deepcompress.errors import UserError
from deepcompress.execute.float_torch import forward_numpy
from deepcompress.frontend.fx_importer import import_graph
from deepcompress.frontend.load import kind, load
from deepcompress.options import Options
from torch import nn
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

SHAPE = (1, 6, 6)
ARCHITECTURE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        x = nn.functional.max_pool2d(torch.relu(self.conv(x)), 2)
        return self.fc(torch.flatten(x, 1))

def wants_an_argument(size):
    return Net()

def returns_nothing():
    return None

def exits():
    raise SystemExit(3)

class Branches(Net):
    def forward(self, x):
        if x.sum() > 0:
            return super().forward(x)
        return super().forward(-x)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models")
    (path / "net.py").write_text(ARCHITECTURE)
    return path


@pytest.fixture(scope="module")
def net(folder: Path) -> nn.Module:
    sys.path.insert(0, str(folder))
    import net as architecture

    sys.path.pop(0)
    torch.manual_seed(0)
    return architecture.Net().eval()


@pytest.fixture(scope="module")
def plain() -> nn.Module:
    torch.manual_seed(0)
    layers = [("conv", nn.Conv2d(1, 2, 3)), ("relu", nn.ReLU()), ("pool", nn.MaxPool2d(2))]
    layers += [("flatten", nn.Flatten()), ("fc", nn.Linear(8, 3))]
    return nn.Sequential(OrderedDict(layers)).eval()


def example() -> torch.Tensor:
    return torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(1))


def half(net: nn.Module) -> dict:
    return {name: tensor.bfloat16() for name, tensor in net.state_dict().items()}


def prefixed(net: nn.Module) -> dict:
    return {f"module.{name}": tensor for name, tensor in net.state_dict().items()}


def wrapped(net: nn.Module, prefix: str) -> dict:
    """As a training framework saves the network inside its own module, beside what else it has."""
    tensors = {f"{prefix}{name}": tensor for name, tensor in net.state_dict().items()}
    return {"state_dict": {**tensors, "loss.weight": torch.ones(3)}, "epoch": 3}


def save_from_gpu(content: object, path: Path) -> None:
    """A file as torch.save writes it where the tensors are on a GPU, which needs none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        torch.save(content, path)


def export_from_gpu(net: nn.Module, path: Path) -> None:
    """An exported program whose JSON names the GPU on which each tensor was."""

    def moved(value: object) -> object:
        if isinstance(value, list):
            return [moved(part) for part in value]
        if not isinstance(value, dict):
            return value
        on_gpu = {key: {"type": "cuda", "index": 0} for key in value if key == "device"}
        return {key: moved(part) for key, part in value.items()} | on_gpu

    torch.export.save(torch.export.export(net, (example(),)), path)
    change_program(path, lambda program: program.update(moved(program)))


SAVERS: dict[str, Callable[[nn.Module, Path], None]] = {
    "exported program": lambda net, path: torch.export.save(
        torch.export.export(net, (example(),)), path
    ),
    "exported program of a GPU": export_from_gpu,
    "traced TorchScript": lambda net, path: torch.jit.trace(net, example()).save(str(path)),
    "scripted TorchScript": lambda net, path: torch.jit.script(net).save(str(path)),
    "state_dict": lambda net, path: torch.save(net.state_dict(), path),
    "state_dict of a checkpoint": lambda net, path: torch.save(
        {"epoch": 3, "state_dict": net.state_dict()}, path
    ),
    "state_dict of DataParallel": lambda net, path: torch.save(prefixed(net), path),
    "state_dict of torch.compile": lambda net, path: torch.save(wrapped(net, "_orig_mod."), path),
    "state_dict of a framework": lambda net, path: torch.save(wrapped(net, "model."), path),
    "state_dict of a GPU": lambda net, path: save_from_gpu(net.state_dict(), path),
    "state_dict before zip files": lambda net, path: torch.save(
        net.state_dict(), path, _use_new_zipfile_serialization=False
    ),
}


def options(folder: Path, **more: object) -> Options:
    return Options(**{"input_shape": SHAPE, "architecture": f"{folder / 'net.py'}:Net", **more})


def assert_same_function(path: Path, given: Options, net: nn.Module, tolerance: float) -> list[str]:
    graph = import_graph(load(path, options=given), name="net")
    with torch.no_grad():
        expected = net(example()).numpy()
    np.testing.assert_allclose(forward_numpy(graph, example().numpy()), expected, atol=tolerance)
    return [node.name for node in graph.nodes if "weight" in node.parameters]


@pytest.mark.parametrize("saver", SAVERS)
def test_every_kind_is_the_same_network_with_the_users_layer_names(
    saver: str, net: nn.Module, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.pt"
    SAVERS[saver](net, path)
    assert assert_same_function(path, options(folder), net, 1e-5) == ["conv", "fc"]


def test_half_precision_weights_are_widened(net: nn.Module, folder: Path, tmp_path: Path) -> None:
    torch.save(half(net), tmp_path / "model.pt")
    assert_same_function(tmp_path / "model.pt", options(folder), net, 0.02)


class ChannelsLast(nn.Module):
    """Weights and activations as vector units want them."""

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
    graph = import_graph(load(path, options=Options(input_shape=(3, 6, 6))), name="net")
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


def test_a_script_that_names_a_gpu_opens_on_the_cpu(net: nn.Module, tmp_path: Path) -> None:
    class Adds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x) + torch.ones(1, device="cpu")

    path = tmp_path / "model.pt"
    torch.jit.trace(Adds(), example()).save(str(path))
    with zipfile.ZipFile(path) as archive:
        ((name, code),) = (
            (name, archive.read(name))
            for name in archive.namelist()
            if name.endswith(".py") and b'"cpu"' in archive.read(name)
        )
    replace_member(path, name, code.replace(b'"cpu"', b'"cuda:0"'))
    assert_same_function(path, Options(input_shape=SHAPE), Adds(), 1e-5)


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
    graph = import_graph(load(path, options=options(folder)), name="net")
    zeros = [int((n.parameters["weight"] == 0).sum()) for n in graph.nodes if n.parameters]
    assert zeros == [int((layer.weight == 0).sum()) for layer in (module.conv, module.fc)]
    assert zeros[0] == 9
    assert zeros[1] >= 12


@pytest.mark.parametrize("norm", [weight_norm, spectral_norm])
def test_parametrized_weights_are_computed(norm: Callable, net: nn.Module, tmp_path: Path) -> None:
    module = copy.deepcopy(net)
    norm(module.fc)
    SAVERS["exported program"](module.eval(), tmp_path / "model.pt")
    assert_same_function(tmp_path / "model.pt", Options(), module, 1e-5)


FOREIGN = {
    "export.access_subclass_inner_tensor": r"torchao's quantize_\(\).*prepare_pt2e",
    "torchao.quantize_affine": r"torchao's quantize_\(\).*prepare_pt2e",
    "mine.fast_conv": r"calls mine\.fast_conv, an operator of another library.*torch's own",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_operators_of_other_libraries_are_refused_with_what_to_do(
    name: str, net: nn.Module, tmp_path: Path
) -> None:
    path = tmp_path / "model.pt"
    SAVERS["exported program"](net, path)

    def change(program: dict) -> None:
        program["graph_module"]["graph"]["nodes"][0]["target"] = f"torch.ops.{name}.default"

    change_program(path, change)
    with pytest.raises(UserError, match=FOREIGN[name]):
        load(path, options=Options())


def test_a_script_with_packed_weights_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.jit.script(Flattens()).save(str(path))
    script = Template(SCRIPT.safe_substitute({**HARMLESS, "result": "ops.quantized.relu6(x)"}))
    replace_member(path, ".py", script.substitute(module=__name__).encode())
    with pytest.raises(UserError, match=r"torch\.ao\.quantization.*Save the float network"):
        load(path, options=Options(input_shape=SHAPE))


def test_a_pickled_module_of_plain_layers_opens_without_trust(
    plain: nn.Module, tmp_path: Path
) -> None:
    torch.save(plain, tmp_path / "model.pt")
    given = Options(input_shape=SHAPE)
    assert assert_same_function(tmp_path / "model.pt", given, plain, 1e-5) == ["conv", "fc"]


def test_a_pickled_module_of_a_users_class_opens_with_trust(
    net: nn.Module, folder: Path, tmp_path: Path
) -> None:
    torch.save(net, tmp_path / "model.pt")
    with pytest.raises(UserError, match=r"net\.Net, and unpickling that would run code.*trust"):
        load(tmp_path / "model.pt", options=options(folder))
    assert_same_function(tmp_path / "model.pt", options(folder, trust_pickle=True), net, 1e-5)


def test_a_newer_pickle_protocol_opens_only_with_trust(
    net: nn.Module, folder: Path, tmp_path: Path
) -> None:
    torch.save(net.state_dict(), tmp_path / "model.pt", pickle_protocol=4)
    with pytest.raises(UserError, match=r"cannot be opened without running what it holds.*trust"):
        load(tmp_path / "model.pt", options=options(folder))
    assert_same_function(tmp_path / "model.pt", options(folder, trust_pickle=True), net, 1e-5)


def test_a_whole_module_from_before_zip_files_opens_only_with_trust(
    plain: nn.Module, tmp_path: Path
) -> None:
    path = tmp_path / "model.pt"
    torch.save(plain, path, _use_new_zipfile_serialization=False)
    with pytest.raises(UserError, match=r"cannot be opened without running what it holds.*trust"):
        load(path, options=Options(input_shape=SHAPE))
    given = Options(input_shape=SHAPE, trust_pickle=True)
    assert assert_same_function(path, given, plain, 1e-5) == ["conv", "fc"]


def test_trust_does_not_help_where_the_class_is_gone(
    net: nn.Module, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.pt"
    torch.save(net, path)
    path.write_bytes(path.read_bytes().replace(b"cnet\nNet", b"cgon\nNet"))
    with pytest.raises(UserError, match=r"not to be found \(No module named 'gon'\)"):
        load(path, options=options(folder, trust_pickle=True))


class Touches:
    """Pickled, it creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.path,))


class Runs(Touches):
    """The same by a module that torch blocks whatever the allow-list."""

    def __reduce__(self) -> tuple:
        return (os.system, (f"touch {self.path}",))


@pytest.mark.parametrize("evil", [Touches, Runs])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_pickle_is_not_run(evil: type, zipped: bool, tmp_path: Path) -> None:
    evidence, path = tmp_path / "evidence", tmp_path / "model.pt"
    torch.save({"weight": evil(evidence)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match="would run code from the file"):
        load(tmp_path / "model.pt", options=Options(input_shape=SHAPE))
    assert not evidence.exists()


def replace_member(path: Path, ending: str, content: bytes) -> None:
    """Rewrites the member of an archive whose name has this ending."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    (name,) = [name for name in members if name.endswith(ending)]
    members[name] = content
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def change_program(path: Path, change: Callable[[dict], None]) -> None:
    """Changes the JSON of an exported program."""
    with zipfile.ZipFile(path) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("models/model.json")]
        program = json.loads(archive.read(name))
    change(program)
    replace_member(path, "models/model.json", json.dumps(program).encode())


def add_member(path: Path, name: str, content: bytes) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{archive.namelist()[0].partition('/')[0]}/{name}", content)


def rename_everywhere(path: Path, old: str, new: str) -> None:
    def rename(value: object) -> object:
        if isinstance(value, list):
            return [rename(part) for part in value]
        if isinstance(value, dict):
            return {rename(key): rename(part) for key, part in value.items()}
        return new if value == old else value

    change_program(path, lambda program: program.update(rename(program)))


def name_input_as_code(path: Path, evidence: Path) -> None:
    """torch writes the names of inputs into Python source, where a default is evaluated."""
    rename_everywhere(path, "x", f"x=open({str(evidence)!r}, 'w')")


def name_node_as_code(path: Path, evidence: Path) -> None:
    rename_everywhere(path, "relu", f"relu\nopen({str(evidence)!r}, 'w')")


def hide_code_in_a_size(path: Path, evidence: Path) -> None:
    """In octal no word of it is seen, but sympy evaluates the text that it means."""
    code = "".join(f"\\{byte:03o}" for byte in f"open({str(evidence)!r}, 'w')".encode())

    def change(program: dict) -> None:
        sizes = program["graph_module"]["graph"]["tensor_values"]["x"]["sizes"]
        sizes[0] = {"as_expr": {"expr_str": f"Max('{code}',1)", "hint": {"as_int": 2}}}

    change_program(path, change)


def name_a_module_in_the_input_structure(path: Path, evidence: Path) -> None:
    """Written with an escape, as JSON allows, so that the word itself is not in the file."""
    (path.parent / "evil_enum.py").write_text(f"open({str(evidence)!r}, 'w')")
    context = json.dumps({"__enum__": True, "fqn": "evil_enum:A", "name": "B"})

    def change(program: dict) -> None:
        for call in program["graph_module"]["module_call_graph"]:
            if call["signature"]:
                version, spec = json.loads(call["signature"]["in_spec"])
                spec["children_spec"][1]["context"] = context.replace("__enum", "\\u005f_enum")
                call["signature"]["in_spec"] = json.dumps((version, spec))

    change_program(path, change)


def call_another_function(path: Path, evidence: Path) -> None:
    """torch finds a call's function by following its dotted name from torch on."""

    def change(program: dict) -> None:
        program["graph_module"]["graph"]["nodes"][0]["target"] = "torch.os.mkdir"

    change_program(path, change)


def add_an_object(path: Path, evidence: Path, member: str = "opaque_obj_0") -> None:
    entry = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True}
    config = {"config": {"c": {**entry, "tensor_meta": None}}}
    replace_member(path, "constants/model_constants_config.json", json.dumps(config).encode())
    add_member(path, f"data/constants/{member}", pickle.dumps(Touches(evidence)))


EVIL_PROGRAMS: dict[str, Callable[[Path, Path], None]] = {
    "the name of an input": name_input_as_code,
    "the name of a node": name_node_as_code,
    "a size": hide_code_in_a_size,
    "the structure of its inputs": name_a_module_in_the_input_structure,
    "the name of a function": call_another_function,
    "an object": add_an_object,
    "an object in capitals": lambda path, evidence: add_an_object(path, evidence, "OPAQUE_OBJ_0"),
}


@pytest.mark.parametrize("case", EVIL_PROGRAMS)
def test_code_in_an_exported_program_is_not_run(
    case: str, net: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    evidence, path = tmp_path / "evidence", tmp_path / "model.pt"
    SAVERS["exported program"](net, path)
    EVIL_PROGRAMS[case](path, evidence)
    with pytest.raises(UserError, match=r"could run code from the file"):
        load(path, options=Options())
    assert not evidence.exists()


def pickled_touch(evidence: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save(Touches(evidence), buffer)
    return buffer.getvalue()


def add_a_library(path: Path, evidence: Path) -> None:
    """A compiled package: torch loads its shared library."""
    source, library = path.with_suffix(".c"), path.with_suffix(".so")
    source.write_text(
        f"#include <stdio.h>\n__attribute__((constructor)) void run(void) "
        f'{{ fclose(fopen("{evidence}", "w")); }}\n'
    )
    subprocess.run(["gcc", "-shared", "-fPIC", source, "-o", library], check=True)
    add_member(path, "data/aotinductor/model/a.wrapper.so", library.read_bytes())
    add_member(
        path, "data/aotinductor/model/a.wrapper_metadata.json", b'{"AOTI_DEVICE_KEY": "cpu"}'
    )


NOT_OPENED: dict[str, Callable[[Path, Path], None]] = {
    "example inputs": lambda path, evidence: replace_member(
        path, "sample_inputs/model.pt", pickled_touch(evidence)
    ),
    "a compiled library": add_a_library,
    "guards": lambda path, evidence: change_program(
        path, lambda program: program.update(guards_code=[f"open({str(evidence)!r}, 'w')"])
    ),
}


@pytest.mark.parametrize("case", NOT_OPENED)
def test_what_an_exported_program_does_not_need_is_not_opened(
    case: str, net: nn.Module, tmp_path: Path
) -> None:
    evidence, path = tmp_path / "evidence", tmp_path / "model.pt"
    SAVERS["exported program"](net, path)
    NOT_OPENED[case](path, evidence)
    program = load(path, options=Options())
    torch.testing.assert_close(program.module()(example()), net(example()))
    assert not evidence.exists()


def test_a_pickled_weight_of_an_exported_program_is_not_run(net: nn.Module, tmp_path: Path) -> None:
    evidence, path = tmp_path / "evidence", tmp_path / "model.pt"
    SAVERS["exported program"](net, path)
    entry = {"path_name": "tensor_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
    config = json.dumps({"config": {"c": entry}}).encode()
    replace_member(path, "constants/model_constants_config.json", config)
    add_member(path, "data/constants/tensor_0", pickled_touch(evidence))
    with pytest.raises(UserError, match="torch cannot open it"):
        load(path, options=Options())
    assert not evidence.exists()


@pytest.mark.parametrize("batch", [torch.export.Dim("batch"), torch.export.Dim.AUTO])
def test_a_dynamic_batch_opens(batch: object, net: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    program = torch.export.export(
        net, (torch.zeros(2, *SHAPE),), dynamic_shapes=({0: batch},), strict=False
    )
    torch.export.save(program, path)
    assert assert_same_function(path, Options(), net, 1e-5) == ["conv", "fc"]


class Flattens(nn.Module):
    """Scripted, it is one member of code that is easily replaced."""

    def forward(self, x: torch.Tensor, start: int = 1) -> torch.Tensor:
        return torch.flatten(x, start)


SCRIPT = Template("""class Flattens(Module):
  __parameters__ = []
  __buffers__ = []
  training : bool
  def forward(self: __torch__.$module.Flattens,
    x: Tensor$default) -> Tensor:
    return $result
$more""")
HARMLESS = {"default": "", "result": "torch.flatten(x, 1)", "more": ""}
CREATE = 'torch.from_file("$evidence", True, 4)'
EVIL_SCRIPTS = {
    "in forward": {"result": f"torch.add(torch.flatten(x, 1), torch.sum({CREATE}))"},
    "in a default": {"default": f", y: Tensor={CREATE}"},
    "when it is opened": {
        "more": f"""  def __setstate__(self: __torch__.$module.Flattens, state: bool) -> NoneType:
    made = {CREATE}
    self.training = state
    return None
"""
    },
    "that saves": {"result": 'torch.flatten(torch.save(x, "$evidence"), 1)'},
    "that computes when it is opened": {"default": ", y: Tensor=torch.ones([1])"},
    "that calls another library": {"result": "ops.profiler._record_function_enter(x)"},
}


@pytest.mark.parametrize("case", EVIL_SCRIPTS)
def test_a_script_that_does_more_than_compute_is_not_run(case: str, tmp_path: Path) -> None:
    evidence, path = tmp_path / "evidence", tmp_path / "model.pt"
    torch.jit.script(Flattens()).save(str(path))
    script = Template(SCRIPT.safe_substitute({**HARMLESS, **EVIL_SCRIPTS[case]}))
    text = script.substitute(module=__name__, evidence=evidence)
    replace_member(path, ".py", text.encode())
    with pytest.raises(
        UserError, match=r"its script .* could run code from the file.*torch\.export"
    ):
        load(path, options=Options(input_shape=SHAPE))
    assert not evidence.exists()


def test_a_script_with_two_members_of_one_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.jit.script(Flattens()).save(str(path))
    with zipfile.ZipFile(path, "a") as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".py")]
        archive.writestr(name.upper().replace("MODEL/", "model/", 1), "")
    with pytest.raises(UserError, match="it holds two members of one name"):
        load(path, options=Options(input_shape=SHAPE))


def test_scripted_layers_without_names_open(plain: nn.Module, tmp_path: Path) -> None:
    unnamed = nn.Sequential(*plain)
    torch.jit.script(unnamed).save(str(tmp_path / "model.pt"))
    given = Options(input_shape=SHAPE)
    assert assert_same_function(tmp_path / "model.pt", given, unnamed, 1e-5) == ["0", "4"]


def test_frozen_scripts_keep_their_weights_as_constants(net: nn.Module, tmp_path: Path) -> None:
    torch.jit.freeze(torch.jit.script(net)).save(str(tmp_path / "model.pt"))
    given = Options(input_shape=SHAPE)
    assert_same_function(tmp_path / "model.pt", given, net, 1e-5)
    assert not load(tmp_path / "model.pt", options=given).state_dict


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/readme.txt", "hello")


def without_a_directory(path: Path) -> None:
    """Still ends as a zip does, but what it lists is not to be found."""
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
    "safetensors": (lambda p: p.write_bytes(b"\x40" + b"\0" * 7 + b'{"a":1}'), "like safetensors"),
    "Keras": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 99), "like Keras"),
    "a list": (lambda path: torch.save([1, 2], path), "it holds a list, not a network"),
    "no weights": (
        lambda p: torch.save({"epoch": 1}, p),
        "it holds a dict of epoch, not a network",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_told_in_one_paragraph(case: str, tmp_path: Path) -> None:
    make, complaint = BAD_FILES[case]
    path = tmp_path / "model.pt"
    make(path)
    with pytest.raises(UserError, match=complaint) as error:
        load(path, options=Options(input_shape=SHAPE))
    assert error.value.paragraph().startswith(f"model file {path}: ")


def test_a_missing_file_suggests_its_neighbour(net: nn.Module, tmp_path: Path) -> None:
    SAVERS["state_dict"](net, tmp_path / "lenet5.pt")
    with pytest.raises(UserError, match=r"no such file \(did you mean lenet5\.pt\?\)"):
        kind(tmp_path / "lenet.pt")


def test_a_name_that_cannot_be_a_file_is_told() -> None:
    with pytest.raises(UserError, match=r"cannot be read \(File name too long\)"):
        kind(Path("a" * 300))


def test_the_module_is_imported_without_torch() -> None:
    program = "import sys, deepcompress.frontend.load; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


KINDS = {
    "exported program": "exported program",
    "exported program of a GPU": "exported program",
    "traced TorchScript": "TorchScript",
}


@pytest.mark.parametrize("saver", SAVERS)
def test_torch_says_nothing_and_the_kind_is_known_unopened(
    saver: str, net: nn.Module, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    path = tmp_path / "model.pt"
    SAVERS[saver](net, path)
    capfd.readouterr()
    load(path, options=options(folder))
    assert capfd.readouterr() == ("", "")
    assert kind(path) == KINDS.get(saver.replace("scripted", "traced"), "pickle")


def test_weights_that_hold_nan_are_named(net: nn.Module, folder: Path, tmp_path: Path) -> None:
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state["fc.bias"][1] = float("nan")
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(UserError, match=r"fc\.bias hold NaN or infinity"):
        load(tmp_path / "model.pt", options=options(folder))


WRONG_OPTIONS = {
    "no architecture": ({"architecture": None}, "but not how they are connected.*architecture ="),
    "an architecture that exits": (
        {"architecture": "FOLDER/net.py:exits"},
        r"exits\(\) failed \(SystemExit",
    ),
    "no such architecture file": ({"architecture": "gone.py:Net"}, "there is no such file"),
    "no such class": (
        {"architecture": "FOLDER/net.py:Nett"},
        r"has no Nett \(did you mean Net\?\)",
    ),
    "an argument": ({"architecture": "FOLDER/net.py:wants_an_argument"}, "without arguments"),
    "nothing": ({"architecture": "FOLDER/net.py:returns_nothing"}, "gave a NoneType"),
    "no shape": ({"input_shape": None}, "shape of its input is not known.*input_shape"),
    "a wrong shape": ({"input_shape": (3, 6, 6)}, r"not take an input of 3,6,6 \(layer conv: "),
    "a branch": ({"architecture": "FOLDER/net.py:Branches"}, r"cannot follow it at net\.py:\d+"),
}


@pytest.mark.parametrize("case", WRONG_OPTIONS)
def test_a_wrong_option_is_told_with_what_to_do(
    case: str, net: nn.Module, folder: Path, tmp_path: Path
) -> None:
    more, complaint = WRONG_OPTIONS[case]
    if more.get("architecture"):
        more = {"architecture": more["architecture"].replace("FOLDER", str(folder))}
    SAVERS["state_dict"](net, tmp_path / "model.pt")
    with pytest.raises(UserError, match=complaint):
        load(tmp_path / "model.pt", options=options(folder, **more))


def test_weights_of_another_network_are_listed(
    net: nn.Module, folder: Path, tmp_path: Path
) -> None:
    state = dict(net.state_dict())
    state["fc.weight"] = torch.zeros(3, 9)
    del state["conv.bias"]
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(UserError) as error:
        load(tmp_path / "model.pt", options=options(folder))
    assert "conv.bias is missing, fc.weight is [3, 9], the network has [3, 8]" in error.value.what


def test_a_fixed_batch_of_several_is_refused(net: nn.Module, tmp_path: Path) -> None:
    torch.export.save(torch.export.export(net, (torch.zeros(4, *SHAPE),)), tmp_path / "model.pt")
    with pytest.raises(UserError, match="exported for batches of 4"):
        load(tmp_path / "model.pt", options=Options())


def test_an_architecture_may_import_its_neighbours(
    net: nn.Module, folder: Path, tmp_path: Path
) -> None:
    shutil.copy(folder / "net.py", tmp_path / "parts.py")
    (tmp_path / "whole.py").write_text("from parts import Net\n")
    SAVERS["state_dict"](net, tmp_path / "model.pt")
    load(tmp_path / "model.pt", options=options(folder, architecture=f"{tmp_path}/whole.py:Net"))
