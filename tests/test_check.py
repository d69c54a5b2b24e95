"""What a stage promises is checked at its bound."""

from __future__ import annotations

import pytest
from deepcompress import check
from deepcompress.errors import UserError
from deepcompress.graph import IntegerGraph, IntegerNode, Tensor
from deepcompress.ops.conv2d import Conv2d

SIDE = 2896  # the largest whose square is below 2**23


def convolution(padding: tuple[int, int, int, int]) -> IntegerGraph:
    node = IntegerNode("conv", "conv2d", ("x",), "y", Conv2d(1, 1, (3, 3), padding=padding))
    return IntegerGraph("net", {"x": Tensor("x", (1, SIDE, SIDE))}, {}, (node,), ("x",), ("y",))


def test_an_offset_must_reach_the_padding_too() -> None:
    check.offsets_fit(convolution((0, 0, 0, 0)))
    with pytest.raises(UserError, match=r"layer conv: its input of 8398404 bytes"):
        check.offsets_fit(convolution((1, 1, 1, 1)))
