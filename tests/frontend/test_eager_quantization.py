"""State_dicts of torch.ao.quantization in eager mode: prepared ones open, converted ones do not."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from deepcompress.errors import UserError
from deepcompress.frontend.open_graph import open_graph
from deepcompress.options import Options
from model_files import SHAPE, assert_same_function, example
from torch import nn

pytestmark = pytest.mark.filterwarnings("ignore")

NETWORK = """
import torch
from torch import nn
from torch.ao import quantization as q

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.quant, self.dequant = q.QuantStub(), q.DeQuantStub()
        self.conv, self.bn, self.relu = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU()
        self.fc = nn.Linear(64, 3)

    def forward(self, x):
        x = self.relu(self.bn(self.conv(self.quant(x))))
        return self.dequant(self.fc(x.reshape(x.shape[0], -1)))

def qat(backend="fbgemm", fuse=False):
    net = Net().train()
    net.qconfig = q.get_default_qat_qconfig(backend)
    if fuse:
        net = q.fuse_modules_qat(net, [["conv", "bn", "relu"]])
    return q.prepare_qat(net)

def qnnpack():
    return qat("qnnpack")

def fused():
    return qat(fuse=True)

def observed():
    net = Net().eval()
    net.qconfig = q.get_default_qconfig("fbgemm")
    return q.prepare(net)
"""


@pytest.fixture(scope="module")
def eager(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with eager_net.py, which is importable."""
    folder = tmp_path_factory.mktemp("eager")
    (folder / "eager_net.py").write_text(NETWORK)
    sys.path.insert(0, str(folder))
    return folder


def trained(eager: Path, name: str) -> nn.Module:
    """A prepared network after a few batches, in eval mode."""
    import eager_net

    torch.manual_seed(0)
    net = getattr(eager_net, name)()
    for _ in range(3):
        net(torch.randn(8, *SHAPE))
    return net.eval().apply(torch.ao.quantization.disable_observer)


def given(eager: Path, name: str | None) -> Options:
    architecture = f"{eager}/eager_net.py:{name}" if name else None
    return Options(input_shape=SHAPE, architecture=architecture)


@pytest.mark.parametrize("name", ["qat", "qnnpack", "fused"])
def test_a_network_of_prepare_qat_opens_with_its_scales(
    name: str, eager: Path, tmp_path: Path
) -> None:
    net = trained(eager, name)
    torch.save({"epoch": 1, "qat_state": net.state_dict()}, tmp_path / "model.pt")
    graph = open_graph(tmp_path / "model.pt", given(eager, name), name="net")
    fake = net.fc.activation_post_process
    scale, zero_point = float(fake.scale), int(fake.zero_point)
    # Of 8 bits; a tensor of 7 bits, as fbgemm's are, is clamped in addition.
    expected = [scale * (0 - zero_point), scale * (255 - zero_point)]
    np.testing.assert_allclose(graph.ranges[graph.outputs[0]], expected, rtol=1e-5)
    assert graph.inputs[0] in graph.ranges or "quant.activation_post_process" in {
        node.name for node in graph.nodes
    }
    (fc,) = [node for node in graph.nodes if node.name == "fc"]
    weight = net.fc.weight_fake_quant(net.fc.weight).detach().numpy()
    np.testing.assert_allclose(fc.parameters["weight"], weight, atol=1e-6)


def test_the_network_that_is_opened_computes_what_the_prepared_one_does(
    eager: Path, tmp_path: Path
) -> None:
    """To one step of its output: the float graph has ranges in place of fake quantization."""
    net = trained(eager, "qat")
    torch.save(net.state_dict(), tmp_path / "model.pt")
    step = 3 * float(net.fc.activation_post_process.scale)
    assert_same_function(tmp_path / "model.pt", given(eager, "qat"), net, step)


def test_a_network_of_prepare_opens_as_the_float_network_that_it_is(
    eager: Path, tmp_path: Path
) -> None:
    net = trained(eager, "observed")
    torch.save(net.state_dict(), tmp_path / "model.pt")
    assert_same_function(tmp_path / "model.pt", given(eager, "observed"), net, 1e-5)


@pytest.mark.parametrize("name", ["Net", None])
def test_a_prepared_state_dict_needs_a_prepared_architecture(
    name: str | None, eager: Path, tmp_path: Path
) -> None:
    torch.save(trained(eager, "qat").state_dict(), tmp_path / "model.pt")
    with pytest.raises(UserError, match=r"a function that returns (it|the network) as prepare_qat"):
        open_graph(tmp_path / "model.pt", given(eager, name), name="net")


def converted(eager: Path) -> nn.Module:
    return torch.ao.quantization.convert(copy.deepcopy(trained(eager, "observed")))


CONVERTED = {
    "a state_dict": lambda eager, path: torch.save(converted(eager).state_dict(), path),
    "a checkpoint": lambda eager, path: torch.save({"net": converted(eager).state_dict()}, path),
    "a module": lambda eager, path: torch.save(converted(eager).conv, path),
    "a script": lambda eager, path: torch.jit.save(
        torch.jit.trace(converted(eager), example()), path
    ),
    "dynamic": lambda eager, path: torch.save(
        torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(4, 4))).state_dict(), path
    ),
}


@pytest.mark.parametrize("name", ["Net", None])
@pytest.mark.parametrize("case", CONVERTED)
def test_a_converted_network_is_refused_with_a_way_that_works(
    case: str, name: str | None, eager: Path, tmp_path: Path
) -> None:
    CONVERTED[case](eager, tmp_path / "model.pt")
    with pytest.raises(UserError) as error:
        open_graph(tmp_path / "model.pt", given(eager, name), name="net")
    assert "by torch.ao.quantization, whose packed" in str(error.value)
    assert "prepare_pt2e" in str(error.value)
    assert "trust_pickle" not in str(error.value)
