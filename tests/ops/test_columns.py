"""Rows of weights times `columns` are the layer's sums, for every operator with a weight matrix."""

from __future__ import annotations

import pytest
import torch
from deepcompress.ir.attributes import Attributes
from deepcompress.ops import OPERATORS
from deepcompress.ops.conv2d import Conv2d
from deepcompress.ops.conv_transpose2d import ConvTranspose2d
from deepcompress.ops.linear import Linear
from deepcompress.ops.linear_rows import LinearRows
from deepcompress.ops.recurrent import Recurrent

CASES = [
    ("conv2d", Conv2d(4, 6, (3, 2)), (4, 7, 6)),
    ("conv2d", Conv2d(4, 6, (3, 3), (2, 1), (1, 0, 2, 1), (1, 2), groups=2), (4, 9, 8)),
    ("conv2d", Conv2d(4, 8, (3, 3), padding=(1, 1, 1, 1), groups=4), (4, 5, 5)),
    ("linear", Linear(12, 5), (3, 4)),
    ("linear_rows", LinearRows(4, 5, (3,)), (3, 4)),
    ("conv_transpose2d", ConvTranspose2d(4, 6, (3, 3), (2, 2), (1, 1), (1, 1)), (4, 5, 4)),
    ("conv_transpose2d", ConvTranspose2d(4, 6, (2, 3), (1, 2), (0, 1), groups=2), (4, 5, 4)),
    (
        "conv_transpose2d",
        ConvTranspose2d(2, 2, (3, 2), (3, 2), (2, 0), (1, 0), (2, 1)),
        (2, 4, 4),
    ),
]


@pytest.mark.parametrize(("op", "attributes", "shape"), CASES)
def test_weights_times_columns_are_the_sums(
    op: str, attributes: Attributes, shape: tuple[int, ...]
) -> None:
    operator = OPERATORS[op]
    groups = getattr(attributes, "groups", 1)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, *shape, generator=generator)
    out = operator.output_shape(attributes, [shape])
    rows = out[-1] if op == "linear_rows" else out[0]
    columns = operator.columns(attributes, x, x)
    weight = torch.randn(groups, rows // groups, columns.shape[2], generator=generator)
    kernel = getattr(attributes, "kernel", ())
    whole = weight.reshape(rows, -1, *kernel) if kernel else weight.reshape(rows, -1)
    parameters = {"weight": whole, "bias": torch.zeros(rows)}
    expected = operator.forward(attributes, parameters, x)
    sums = (weight @ columns.mT).reshape(rows, 3, *([-1] if op != "linear" else []))
    found = sums.transpose(0, 1).reshape(expected.shape) if op != "linear_rows" else (
        sums.permute(1, 2, 0).reshape(expected.shape)
    )  # fmt: skip
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_columns_of_a_recurrent_layer_are_its_input_and_previous_output() -> None:
    attributes = Recurrent(features=2, hidden=3, steps=4)
    x, y = torch.randn(5, 4, 2), torch.randn(5, 4, 3)
    columns = OPERATORS["lstm"].columns(attributes, x, y)
    assert columns.shape == (1, 20, 5)
    by_step = columns.reshape(5, 4, 5)
    assert torch.equal(by_step[..., :2], x)
    assert torch.equal(by_step[:, 1:, 2:], y[:, :-1]) and not by_step[:, 0, 2:].any()


def test_every_operator_with_columns_is_tested() -> None:
    tested = {op for op, *_ in CASES} | {"gru", "lstm"}
    assert {name for name, operator in OPERATORS.items() if operator.has_columns} == tested
