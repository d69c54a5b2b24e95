"""TorchScript opens if its code only computes; code that does more is not run."""

from __future__ import annotations

import zipfile
from pathlib import Path
from string import Template

import numpy as np
import pytest
import torch
from deepcompress.errors import UserError
from deepcompress.execute.float_torch import forward_numpy
from deepcompress.frontend import torchscript
from deepcompress.frontend.open_graph import open_graph
from deepcompress.options import Options
from model_files import SHAPE, assert_same_function, example, replace_member
from torch import nn


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


def test_scripted_layers_without_names_open(plain: nn.Module, tmp_path: Path) -> None:
    unnamed = nn.Sequential(*plain)
    torch.jit.script(unnamed).save(str(tmp_path / "model.pt"))
    given = Options(input_shape=SHAPE)
    assert assert_same_function(tmp_path / "model.pt", given, unnamed, 1e-5) == ["0", "4"]


def test_frozen_scripts_keep_their_weights_as_constants(net: nn.Module, tmp_path: Path) -> None:
    torch.jit.freeze(torch.jit.script(net)).save(str(tmp_path / "model.pt"))
    given = Options(input_shape=SHAPE)
    assert_same_function(tmp_path / "model.pt", given, net, 1e-5)
    assert not torchscript.open_program(tmp_path / "model.pt", given).state_dict


class HasDefaults(nn.Module):
    """A script whose default arguments are not given: a tensor, a number, a truth value."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 4)

    def forward(
        self,
        x: torch.Tensor,
        shift: torch.Tensor = torch.ones(4),  # noqa: B008 - a tensor of the archive
        start: int = 1,
        doubled: bool = True,
    ) -> torch.Tensor:
        y = self.fc(x) + shift
        if doubled:
            y = y * 2
        return torch.flatten(y, start)


def test_default_arguments_may_be_tensors(tmp_path: Path) -> None:
    path, module = tmp_path / "model.pt", HasDefaults()
    torch.jit.script(module).save(str(path))
    graph = open_graph(path, Options(input_shape=(8,)), name="net")
    inputs = torch.randn(3, 8)
    np.testing.assert_allclose(
        forward_numpy(graph, inputs.numpy()), module(inputs).detach(), atol=1e-5
    )
    assert [node.name for node in graph.nodes if "weight" in node.parameters] == ["fc"]


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        return self.fc(x / torch.amax(x.abs() + 1, 1, keepdim=True)) + skip  # decomposed


TWO_INPUTS = (torch.zeros(1, 8), torch.zeros(1, 4))


@pytest.mark.parametrize("kind", ["traced", "scripted"])
def test_several_inputs_have_the_shapes_of_the_calibration(kind: str, tmp_path: Path) -> None:
    path, data = tmp_path / "model.pt", tmp_path / "data.npz"
    module = TwoInputs().eval()
    script = torch.jit.script(module) if kind == "scripted" else torch.jit.trace(module, TWO_INPUTS)
    script.save(str(path))
    np.savez(data, x=np.zeros((5, 8), np.float32), skip=np.zeros((5, 4), np.float32))
    graph = open_graph(path, Options(calibration=str(data)), name="net")
    assert {name: graph.tensors[name].shape for name in graph.inputs} == {"x": (8,), "skip": (4,)}
    x, skip = torch.randn(3, 8), torch.randn(3, 4)
    np.testing.assert_allclose(
        forward_numpy(graph, torch.cat([x, skip], 1).numpy()), module(x, skip).detach(), atol=1e-5
    )


@pytest.mark.parametrize("kind", ["script", "module"])
def test_several_inputs_of_unknown_shapes_are_reported_with_what_to_do(
    kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.pt"
    if kind == "script":
        torch.jit.trace(TwoInputs().eval(), TWO_INPUTS).save(str(path))
    else:
        torch.save(nn.Bilinear(8, 4, 2), path)
    given = Options(input_shape=(8,))
    names = "x=..., skip=..." if kind == "script" else r"input1=..., input2=..."
    with pytest.raises(UserError, match=rf"2 inputs.*np\.savez\('inputs\.npz', {names}\)"):
        open_graph(path, given, name="net")


class Flattens(nn.Module):
    """Scripted, it has one member of code, which a test can replace."""

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
        open_graph(path, Options(input_shape=SHAPE), name="net")
    assert not evidence.exists()


def test_a_script_with_two_members_of_one_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.jit.script(Flattens()).save(str(path))
    with zipfile.ZipFile(path, "a") as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".py")]
        archive.writestr(name.upper().replace("MODEL/", "model/", 1), "")
    with pytest.raises(UserError, match="it holds two members of one name"):
        open_graph(path, Options(input_shape=SHAPE), name="net")


def test_a_script_with_packed_weights_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.jit.script(Flattens()).save(str(path))
    script = Template(SCRIPT.safe_substitute({**HARMLESS, "result": "ops.quantized.relu6(x)"}))
    replace_member(path, ".py", script.substitute(module=__name__).encode())
    with pytest.raises(UserError, match=r"torch\.ao\.quantization.*Save the float network"):
        open_graph(path, Options(input_shape=SHAPE), name="net")
