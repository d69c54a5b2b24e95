"""The operators, one file each.

An operator's module states facts, as functions of the same names in every file (`Operator` below).
One that computes other than by `IntegerNode.weight` also says how it becomes integers:

    quantize(node, inputs: list[Quantization], observed: Range) -> (IntegerNode, Quantization)

where `observed` is the range of its output. Without it, `quantize.py` knows what to do.

What lets `overlay.py` save memory and work, and `fold.py` move activations, is said where it holds:

    IN_PLACE = True       the kernel may write its output over an input of the same size
    ONLY_MOVES = True     the output has no other values than the inputs; `clamp` is not applied
    CHANNELWISE = True    channel c of the output, axis 0, is made of channel c of the input alone
    KEEPS_SCALE = True    the inputs have the output's scale; so where nothing is said of quantizing
    TAKES_ARRAY = True    the kernel takes an array of its inputs, as many as there are
    view(attributes, input: Shape) -> int | None        where in the input the whole output lies
    changes_nothing(attributes, parameters) -> bool     whether the output is the input, reshaped
    parts(attributes, inputs: list[Shape]) -> list[int] | None      where the inputs lie in it
    scratch_bytes(attributes, input: Shape) -> int      of the arena, that the kernel works in;
        kept from one inference to the next where `attributes.stateful`, and then at the start
        filled with start_byte(input: Quantization) -> int

    KEEPS_BIAS_FOLDED = True    the kernel does not take the zero point off its inputs

And what lets pruning follow a channel from layer to layer:

    ROWS_ARE_CHANNELS = True   row c of `weight` makes channel c; columns are the input's channels

Adding an operator is one such file, a line in `OPERATORS`, a kernel in include/, and a test row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from deepcompress.ops import (
    adaptive_pool2d,
    add,
    avg_pool2d,
    clamp,
    concat,
    conv2d,
    conv_transpose2d,
    flatten,
    gru,
    history,
    layer_norm,
    linear,
    linear_rows,
    literal,
    lookup,
    lstm,
    max_pool2d,
    mean,
    mul,
    pad,
    prelu,
    rearrange,
    scale_shift,
    softmax,
    upsample_bilinear2d,
)

if TYPE_CHECKING:
    import numpy as np
    import torch

    from deepcompress.ir.aten_call import Call
    from deepcompress.ir.graph import IntegerNode, Node, Quantization

Shape = tuple[int, ...]


class Operator(Protocol):
    """What a module in `ops/` says of its operator. Shapes are without the batch."""

    ATEN: tuple[str, ...]
    """Names of the aten operators, without overload, that `read` understands."""

    def read(self, call: Call) -> tuple[Any, dict[str, np.ndarray]]:
        """Attributes and float parameters from an aten call. Raises UserError."""

    def output_shape(self, attributes: Any, parameters: dict, inputs: list[Shape]) -> Shape: ...

    def describe(self, attributes: Any) -> str:
        """As PyTorch would print the layer, short."""

    def forward(self, attributes: Any, parameters: dict, *inputs: torch.Tensor) -> torch.Tensor:
        """The float operator on a batch, activation function not included; differentiable.

        `parameters` are torch tensors under the names of `Node.parameters`.
        """

    def integer(
        self, node: IntegerNode, quantization: list[Quantization], *inputs: np.ndarray
    ) -> np.ndarray:
        """The integer operator on int8 batches: the specification of its arithmetic."""

    def c_parameters(
        self,
        node: IntegerNode,
        quantization: list[Quantization],
        inputs: list[Shape],
        output: Shape,
    ) -> dict[str, int]:
        """The fields of the kernel's parameter struct that `IntegerNode` does not hold itself."""

    def macs(self, attributes: Any, weights: int, output: Shape) -> int:
        """Multiplications of one inference with `weights` weights (or compares, without)."""


OPERATORS: dict[str, Operator] = {
    "conv2d": conv2d,
    "conv_transpose2d": conv_transpose2d,
    "linear": linear,
    "linear_rows": linear_rows,
    "max_pool2d": max_pool2d,
    "avg_pool2d": avg_pool2d,
    "adaptive_pool2d": adaptive_pool2d,
    "mean": mean,
    "clamp": clamp,
    "flatten": flatten,
    "rearrange": rearrange,
    "concat": concat,
    "literal": literal,
    "pad": pad,
    "upsample_bilinear2d": upsample_bilinear2d,
    "add": add,
    "mul": mul,
    "gru": gru,
    "history": history,
    "layer_norm": layer_norm,
    "lookup": lookup,
    "lstm": lstm,
    "prelu": prelu,
    "scale_shift": scale_shift,
    "softmax": softmax,
}

BY_ATEN: dict[str, str] = {aten: name for name, op in OPERATORS.items() for aten in op.ATEN}


def keeps_scale(node: Node) -> bool:
    """Whether a node only moves or compares values, so that its tensors must have one scale."""
    operator = OPERATORS[node.op]
    computes = hasattr(operator, "quantize") or "weight" in node.parameters
    return getattr(operator, "KEEPS_SCALE", not computes)
