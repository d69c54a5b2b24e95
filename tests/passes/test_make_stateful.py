"""Stateful networks: a stream in chunks gives the same results as the whole stream."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import c_runner
import numpy as np
import pytest
import torch
from deepcompress.backend.emit_c import emit_c
from deepcompress.backend.memory_plan import plan_memory
from deepcompress.backend.select_kernels import select_kernels
from deepcompress.compile import compile_model, open_model
from deepcompress.data.calibration import Calibration
from deepcompress.errors import UserError
from deepcompress.execute.float_torch import forward_numpy
from deepcompress.execute.int8_reference import dequantize, run
from deepcompress.frontend.open_graph import open_graph
from deepcompress.ir.batch_layout import in_chunks
from deepcompress.ir.graph import Graph, Node, Tensor
from deepcompress.ops import OPERATORS
from deepcompress.ops.clamp import Limits
from deepcompress.ops.conv2d import Conv2d
from deepcompress.ops.history import History
from deepcompress.ops.recurrent import Recurrent
from deepcompress.options import Options
from deepcompress.passes.fuse import fuse
from deepcompress.passes.make_stateful import make_stateful
from deepcompress.passes.quantize import quantize
from deepcompress.pipeline import verify
from hypothesis import example, given, settings
from hypothesis import strategies as st
from model_graphs import NOWHERE, assert_c_equals_reference
from torch import nn

PIECES = 4

Layer = tuple[str, object, dict[str, np.ndarray]]


def chain(shape: tuple[int, ...], layers: list[Layer]) -> Graph:
    tensors, nodes, last = {"x": Tensor("x", shape)}, [], "x"
    for i, (op, attributes, parameters) in enumerate(layers):
        arrays = {name: array.astype(np.float32) for name, array in parameters.items()}
        shape = OPERATORS[op].output_shape(attributes, [shape])
        tensors[f"t{i}"] = Tensor(f"t{i}", shape)
        nodes.append(Node(f"layer{i}", op, (last,), f"t{i}", attributes, arrays))
        last = f"t{i}"
    return Graph("net", tensors, tuple(nodes), ("x",), (last,))


def causal(
    channels: int, kernel: int, stride: int, dilation: int, random: np.random.Generator
) -> Layer:
    """A causal convolution along one row."""
    attributes = Conv2d(
        channels,
        4,
        (1, kernel),
        stride=(1, stride),
        dilation=(1, dilation),
        padding=(0, (kernel - 1) * dilation, 0, 0),
    )
    weight = random.standard_normal((4, channels, 1, kernel))
    return "conv2d", attributes, {"weight": weight, "bias": random.standard_normal(4)}


def recurrent(op: str, features: int, steps: int, random: np.random.Generator) -> Layer:
    rows = 5 * {"gru": 3, "lstm": 4}[op]
    parameters = {
        "weight": random.standard_normal((rows, features + 5)),
        "bias": random.standard_normal(rows),
        "hidden_bias": random.standard_normal(5),
    }
    return op, Recurrent(features, 5, steps), parameters


def assert_chunks_equal_the_whole(
    whole: Graph, piece: Graph, folder: Path, random: np.random.Generator, axis: int
) -> None:
    """Compares C, chunk by chunk, with the reference on all chunks as one input."""
    inputs = random.standard_normal((20, *piece.tensors["x"].shape)).astype(np.float32)
    folded = fuse(piece)
    streamed = make_stateful(folded)
    verify.shapes_follow(streamed)
    verify.same_function(folded, streamed, inputs)
    integer = quantize(streamed, Calibration(inputs))
    made = plan_memory(select_kernels(integer, cpu="cortex-m4"))
    verify.buffers_do_not_collide(made)

    by_name = {node.name: node for node in integer.nodes}
    as_one = replace(
        integer,
        tensors=whole.tensors,
        nodes=tuple(
            replace(by_name[node.name], attributes=node.attributes, inputs=node.inputs)
            for node in fuse(whole).nodes
        ),
    )
    pieces = random.integers(-128, 128, (PIECES, *piece.tensors["x"].shape), dtype=np.int8)
    expected = run(as_one, np.concatenate(pieces, axis=axis)[None])[0]
    found = run(in_chunks(integer, PIECES), pieces)
    np.testing.assert_array_equal(np.concatenate(found, axis=axis), expected)
    same = forward_numpy(in_chunks(streamed, PIECES), inputs[:PIECES])
    one = forward_numpy(fuse(whole), np.concatenate(inputs[:PIECES], axis=axis)[None])[0]
    np.testing.assert_allclose(np.concatenate(same, axis=axis), one, atol=1e-4)

    texts = emit_c(made, provenance=NOWHERE, golden_inputs=pieces[:1])
    program = c_runner.build(texts, name="net", folder=folder, before="net_reset(arena);")
    shape = integer.tensors[integer.outputs[0]].shape
    found = c_runner.run(program, pieces, int(np.prod(shape))).reshape(PIECES, *shape)
    np.testing.assert_array_equal(np.concatenate(found, axis=axis), expected)


@settings(max_examples=20, deadline=None)
@given(
    channels=st.integers(1, 3),
    kernels=st.lists(
        st.tuples(st.integers(2, 4), st.integers(1, 2), st.integers(1, 3)), min_size=1, max_size=3
    ),
    groups=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_causal_convolutions_read_the_earlier_chunks(
    tmp_path_factory: pytest.TempPathFactory,
    channels: int,
    kernels: list[tuple[int, int, int]],
    groups: int,
    seed: int,
) -> None:
    """Strides, dilations, and chunks shorter than the receptive field of a kernel."""
    random = np.random.default_rng(seed)
    layers: list[Layer] = []
    for kernel, stride, dilation in kernels:
        layers.append(causal(4 if layers else channels, kernel, stride, dilation, random))
        layers.append(("clamp", Limits(0.0, np.inf), {}))
    length = groups * int(np.prod([stride for _, stride, _ in kernels]))
    assert_chunks_equal_the_whole(
        chain((channels, 1, PIECES * length), layers),
        chain((channels, 1, length), layers),
        tmp_path_factory.mktemp("net"),
        random,
        axis=2,
    )


@settings(max_examples=12, deadline=None)
@given(
    ops=st.lists(st.sampled_from(["gru", "lstm"]), min_size=1, max_size=2),
    features=st.integers(1, 5),
    steps=st.integers(1, 4),
    seed=st.integers(0, 99),
)
# The state has as many bytes as the arena has words.
@example(ops=["gru", "gru"], features=1, steps=4, seed=0)
def test_recurrent_layers_continue_from_their_state(
    tmp_path_factory: pytest.TempPathFactory, ops: list[str], features: int, steps: int, seed: int
) -> None:
    def build(steps: int) -> Graph:
        random = np.random.default_rng(seed)
        sizes = [features, 5]
        layers = [recurrent(op, sizes[i], steps, random) for i, op in enumerate(ops)]
        return chain((steps, features), layers)

    folder, random = tmp_path_factory.mktemp("net"), np.random.default_rng(seed + 1)
    assert_chunks_equal_the_whole(build(PIECES * steps), build(steps), folder, random, axis=0)


@pytest.mark.parametrize("limits", [Limits(0.0, 1.0), Limits(0.2, 1.0)])
def test_a_clamp_after_a_history_is_applied_before_or_after_storing(limits: Limits) -> None:
    nodes = (
        Node("history", "history", ("x",), "seen", History(columns=1), {}),
        Node("clamp", "clamp", ("seen",), "y", limits, {}),
    )
    tensors = {name: Tensor(name, (1, 1, n)) for name, n in (("x", 1), ("seen", 2), ("y", 2))}
    graph = Graph("net", tensors, nodes, ("x",), ("y",))
    assert_c_equals_reference(graph, 0, "auto", "balanced")


def test_a_network_without_state_is_refused() -> None:
    graph = chain((1, 1, 4), [("clamp", Limits(0.0, 1.0), {})])
    with pytest.raises(UserError, match="nothing in it remembers"):
        make_stateful(graph)


def test_chunks_that_a_stride_does_not_divide_are_refused() -> None:
    layer = causal(1, 3, 2, 1, np.random.default_rng(0))
    with pytest.raises(UserError, match=r"a chunk of 5 samples gives 3 outputs at a stride of 2"):
        make_stateful(chain((1, 1, 5), [layer]))


def test_the_option_makes_a_network_stateful(tmp_path: Path) -> None:
    module = nn.Sequential(nn.ZeroPad1d((2, 0)), nn.Conv1d(1, 2, 3)).eval()
    torch.export.save(torch.export.export(module, (torch.zeros(1, 1, 4),)), tmp_path / "net.pt2")
    made = compile_model(tmp_path / "net.pt2", name="net", options=Options(stateful=True))
    assert "void net_reset(net_arena *arena)" in made.texts["net.h"]
    assert [step.node.op for step in made.plan.steps] == ["history", "conv2d"]


def test_a_layer_that_reads_a_chunk_from_its_end_is_refused(tmp_path: Path) -> None:
    module = nn.GRU(3, 4, batch_first=True, bidirectional=True).eval()
    torch.export.save(torch.export.export(module, (torch.zeros(1, 5, 3),)), tmp_path / "net.pt2")
    graph = open_graph(tmp_path / "net.pt2", Options(), name="net")
    with pytest.raises(UserError, match=r"l0_reverse.*reads a chunk from its end"):
        make_stateful(graph)


@pytest.mark.parametrize(
    ("inputs", "given"),
    [((6, 5, 4, 3), (4, 3)), ((6, 4, 3), (4, 3)), ((6, 5, 3), (5, 3))],
    ids=["streams of chunks", "chunks", "longer chunks"],
)
def test_the_shape_of_one_chunk_is_that_of_the_data(
    inputs: tuple[int, ...], given: tuple[int, ...], tmp_path: Path
) -> None:
    """A TorchScript does not say how long a chunk is."""
    torch.jit.trace(Recurrent4().eval(), torch.zeros(1, 2, 3)).save(str(tmp_path / "net.pt"))
    np.savez(tmp_path / "data.npz", inputs=np.zeros(inputs, np.float32))
    options = Options(stateful=True, calibration=str(tmp_path / "data.npz"))
    opened = open_model(tmp_path / "net.pt", name="net", options=options)
    assert opened.graph.tensors[opened.graph.inputs[0]].shape == given
    assert opened.calibration.chunks == (5 if len(inputs) == 4 else 1)


class Recurrent4(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(3, 4, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)[0]


def test_calibration_by_streams_measures_more_than_single_chunks_do(tmp_path: Path) -> None:
    """A sum over five chunks of ones: 1 after the first chunk, 5 after the last."""
    conv = nn.Conv1d(1, 1, 5, bias=False)
    conv.weight.data.fill_(1)
    module = nn.Sequential(nn.ZeroPad1d((4, 0)), conv).eval()
    torch.export.save(torch.export.export(module, (torch.zeros(1, 1, 1),)), tmp_path / "net.pt2")

    def greatest_output(shape: tuple[int, ...]) -> tuple[float, list[str]]:
        np.savez(tmp_path / "data.npz", inputs=np.ones(shape, np.float32))
        options = Options(stateful=True, calibration=str(tmp_path / "data.npz"))
        made = compile_model(tmp_path / "net.pt2", name="net", options=options)
        scores = run(in_chunks(made.integer, 5), np.full((5, 1, 1), 127, np.int8))
        by = made.integer.quantization[made.integer.outputs[0]]
        return float(dequantize(scores, by).max()), made.report["warnings"]

    alone, warnings = greatest_output((10, 1, 1))
    assert alone == pytest.approx(1, abs=0.02)
    assert "ranges were measured on the first chunk of streams only" in " ".join(warnings)
    streams, warnings = greatest_output((2, 5, 1, 1))
    assert streams == pytest.approx(5, abs=0.05)
    assert not warnings
