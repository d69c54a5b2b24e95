"""aten calls become our operators: names, spellings of the same layer, and what is refused."""

from __future__ import annotations

import pytest
import torch
from deepcompress.errors import UserError
from deepcompress.frontend.fx_importer import import_graph
from model_graphs import lowered
from torch import nn


class Functional(nn.Module):
    """Layers as attributes, the rest as calls, as most people write it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 2, 3, padding="same", bias=False)
        self.fc = nn.Linear(2 * 4 * 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = nn.functional.dropout(x, 0.5, self.training)
        return self.fc(x.view(x.size(0), -1))


def test_layers_keep_the_users_names() -> None:
    graph = lowered(Functional(), 1, 8, 8)
    assert [(n.name, n.op) for n in graph.nodes] == [
        ("conv1", "conv2d"),
        ("relu", "clamp"),
        ("max_pool2d", "max_pool2d"),
        ("view", "flatten"),
        ("fc", "linear"),
    ]


def test_a_sequential_is_named_by_its_indices() -> None:
    block = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU6())
    graph = lowered(nn.Sequential(block, nn.Flatten(), nn.Linear(72, 2)), 1, 8, 8)
    assert [n.name for n in graph.nodes] == ["0.0", "0.1", "1", "2"]


def test_core_aten_means_the_same_as_the_calls_of_the_training_graph() -> None:
    ops = [n.op for n in lowered(Functional(), 1, 8, 8, decompose=True).nodes]
    assert ops == ["conv2d", "clamp", "max_pool2d", "flatten", "linear"]


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 8, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2),
        nn.Conv2d(4, 4, 3, padding="valid"),
        nn.Conv2d(4, 4, (2, 4), padding="same"),
        nn.MaxPool2d(3, 2, 1),
        nn.MaxPool2d((2, 1)),
        nn.Hardtanh(-0.5, 0.25),
        nn.Identity(),
    ],
    ids=str,
)
def test_attributes_are_read(layer: nn.Module) -> None:
    lowered(nn.Sequential(layer, nn.ReLU()), 4, 9, 9)


def test_calls_without_effect_in_inference_are_removed() -> None:
    layers = (nn.Dropout2d(), nn.Identity(), nn.AlphaDropout(), nn.Dropout(), nn.ReLU())
    assert [node.op for node in lowered(nn.Sequential(*layers), 4, 3, 3).nodes] == ["clamp"]


def test_a_program_with_a_dynamic_batch_is_imported() -> None:
    module = Functional().eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(
        module, (torch.zeros(2, 1, 8, 8),), dynamic_shapes={"x": {0: batch}}
    )
    assert import_graph(program, name="net").tensors["x"].shape == (1, 8, 8)


REFUSED = {
    "an operator that is not supported": (
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.Unfold(2)),
        r"layer 1 \(im2col\).*: the operator im2col is not supported\. Use nn\.Conv2d",
    ),
    "a convolution of volumes": (
        nn.Sequential(nn.Unflatten(1, (1, 1)), nn.Conv3d(1, 2, 1)),
        r"layer 1 \(conv3d\).* is not supported",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_names_the_layer_the_operator_and_what_to_do(case: str) -> None:
    module, complaint = REFUSED[case]
    with pytest.raises(UserError, match=complaint):
        lowered(module, 1, 8, 8)


def test_the_line_of_the_users_model_is_reported() -> None:
    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cumsum(x, 1)

    with pytest.raises(UserError, match=r"test_fx_importer\.py:\d+: the operator cumsum"):
        lowered(Odd(), 1, 8, 8)


def test_an_embedding_of_fixed_indices_is_a_constant() -> None:
    class Placed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.place = nn.Embedding(5, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.place(torch.arange(5))

    (node,) = lowered(Placed(), 5, 8).nodes
    assert node.op == "scale_shift"
