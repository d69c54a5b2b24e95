"""A Graph saved as a `.pt` comes back as the same Graph, and torch runs it."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from c_runner import ROOT
from deepcompress.errors import UserError
from deepcompress.execute.float_torch import forward_numpy
from deepcompress.frontend.open_graph import open_graph
from deepcompress.frontend.save_program import save_graph
from deepcompress.ir.graph import Graph
from deepcompress.options import Options
from deepcompress.passes.fuse import fuse
from deepcompress.passes.magnitude_prune import weighted_nodes
from deepcompress.pipeline import verify
from hypothesis import HealthCheck, assume, given, settings
from model_graphs import lowered
from strategies import graphs
from torch import nn

LENET = ROOT / "examples/lenet5_mnist/models/lenet5.pt"


def read(path: Path, **options: object) -> Graph:
    return fuse(open_graph(path, Options(**options), name="net"))


def weighted_names(graph: Graph) -> list[str]:
    return [node.name for node in weighted_nodes(graph)]


def assert_same(one: Graph, other: Graph) -> None:
    assert [n.op for n in one.nodes] == [n.op for n in other.nodes]
    assert one.tensors[one.inputs[0]].shape == other.tensors[other.inputs[0]].shape
    assert weighted_names(one) == weighted_names(other)
    for a, b in zip(one.nodes, other.nodes, strict=True):
        assert (a.attributes, a.clamp) == (b.attributes, b.clamp)
        for name in a.parameters:
            np.testing.assert_array_equal(a.parameters[name], b.parameters[name])


def test_lenet_comes_back_with_its_names_and_weights(tmp_path: Path) -> None:
    graph = read(LENET, input_shape=(1, 32, 32))
    save_graph(graph, tmp_path / "saved.pt")
    again = read(tmp_path / "saved.pt")
    assert_same(graph, again)
    assert weighted_names(again) == ["conv1", "conv2", "fc1", "fc2", "fc3"]
    parameters = sum(a.nbytes for n in graph.nodes for a in n.parameters.values())
    assert (tmp_path / "saved.pt").stat().st_size < parameters + 40_000


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_torch_runs_it_on_a_batch_of_any_size(batch: int, tmp_path: Path) -> None:
    graph = read(LENET, input_shape=(1, 32, 32))
    save_graph(graph, tmp_path / "saved.pt")
    inputs = torch.randn(batch, 1, 32, 32)
    scores = torch.export.load(tmp_path / "saved.pt").module()(inputs)
    expected = forward_numpy(graph, inputs.numpy())
    np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-4, atol=1e-5)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(graphs())
def test_random_networks_come_back(tmp_path: Path, graph: Graph) -> None:
    # Asymmetric padding is not saved, because no torch layer has it.
    paddings = [n.attributes.padding for n in graph.nodes if n.op == "conv2d"]
    assume(all(p[:2] == p[2:] for p in paddings))
    assume(any("weight" in node.parameters for node in graph.nodes))
    inputs = np.random.default_rng(0).standard_normal((3, *graph.tensors["x"].shape))
    for original in (graph, fuse(graph)):
        save_graph(original, tmp_path / "saved.pt")
        first = read(tmp_path / "saved.pt")
        verify.same_function(graph, first, inputs.astype(np.float32))
    # Pooling and reversed axes, which torch can express in several ways, are saved in one, which
    # may take another round; after that nothing changes.
    save_graph(first, tmp_path / "saved.pt")
    second = read(tmp_path / "saved.pt")
    save_graph(second, tmp_path / "saved.pt")
    assert_same(second, read(tmp_path / "saved.pt"))


def test_a_folder_that_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    graph = read(LENET, input_shape=(1, 32, 32))
    with pytest.raises(UserError, match="cannot be written"):
        save_graph(graph, tmp_path / "file" / "saved.pt")
    assert (tmp_path / "file").read_text() == "old"


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "saved.pt"
    path.write_text("old")
    graph = read(LENET, input_shape=(1, 32, 32))
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(UserError, match=r"cannot be written \(File too large\)"):
            save_graph(graph, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


class Last(nn.Module):
    """The last output of a recurrent layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)[0][:, -1]


LAYERS = {
    "functions": (nn.Sequential(nn.GELU("tanh"), nn.PReLU(4), nn.Softmax(-1)), (4, 6)),
    "transposed": (nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2), (4, 5, 5)),
    "sequences": (nn.Sequential(nn.Linear(6, 4), nn.LayerNorm(4), nn.RMSNorm(4)), (4, 6)),
    "gru": (Last(nn.GRU(6, 3, batch_first=True)), (4, 6)),
    "lstm": (Last(nn.LSTM(6, 3, batch_first=True)), (4, 6)),
}


@pytest.mark.parametrize("case", LAYERS)
def test_layers_whose_weights_are_stored_in_another_order_than_torchs_are_read_back(
    case: str, tmp_path: Path
) -> None:
    module, shape = LAYERS[case]
    graph = fuse(lowered(module, *shape))
    save_graph(graph, tmp_path / "net.pt")
    assert_same(graph, read(tmp_path / "net.pt"))


def test_a_strided_view_that_a_recurrent_layer_reads_is_saved_for_batches_of_any_size(
    tmp_path: Path,
) -> None:
    """torch derived a condition on the batch from the view's strides, and refused to export."""

    class Strided(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(5, 3, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.lstm(x.as_strided((1, 2, 5), (480, 160, 2), 311))[0]

    graph = fuse(lowered(Strided(), 3, 10, 16))
    save_graph(graph, tmp_path / "net.pt")
    assert_same(graph, read(tmp_path / "net.pt"))
