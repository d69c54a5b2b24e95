"""Which kernel computes each layer, in which encoding of its weights: the cheapest for the goal.

Candidates are all kernels that accept the layer on the target, with each encoding that they read,
and the bias with or without the input's zero point in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from deepcompress.arith.narrow_constants import in_smallest_dtype, may_unfold, unfolded_bias
from deepcompress.backend.kernels import KERNELS
from deepcompress.backend.kernels.kernel import Kernel, Layer
from deepcompress.backend.kernels.weighted import WeightedKernel, shared_code_bytes
from deepcompress.backend.plan import SelectedGraph, Selection
from deepcompress.encodings import ENCODINGS
from deepcompress.encodings.refusal import Refusal
from deepcompress.errors import UserError, setting
from deepcompress.ir.graph import Array, EncodedWeight, IntegerGraph, WeightedNode
from deepcompress.target import find
from deepcompress.target.core import Cpu

# What an encoding costs that no kernel of the operator reads.
_FALLBACK = "dense"
# What each goal minimises, of flash bytes and cycles.
_GOALS: dict[str, Callable[[float, int], float]] = {
    "size": lambda flash_bytes, cycles: flash_bytes,
    "speed": lambda flash_bytes, cycles: cycles,
    "balanced": lambda flash_bytes, cycles: flash_bytes * cycles,
}


def select_kernels(
    graph: IntegerGraph, *, encoding: str = "auto", optimize: str = "balanced", cpu: str
) -> SelectedGraph:
    """The graph with a kernel for every node, and every weight encoded.

    Args:
        encoding: "auto", or one of `ENCODINGS` for all layers. A layer for which it has no kernel
            is dense.
        optimize: what is minimised: "size", "speed", or "balanced" (their product).

    Raises:
        UserError: the one encoding cannot represent a layer's weights.
    """
    weighted = sum(isinstance(node, WeightedNode) for node in graph.nodes)
    selections = {}
    for node in graph.nodes:
        layer = Layer.of(graph, node)
        possible = list(candidates(layer, encoding, find(cpu)))
        if not possible:
            raise _cannot_encode(layer, encoding)

        def price(selection: Selection) -> float:
            flash_bytes = selection.cost.code_bytes + _weight_bytes(selection.weight, weighted)
            return _GOALS[optimize](flash_bytes, selection.cost.cycles)

        selections[node.name] = min(possible, key=price)
    return SelectedGraph(graph, selections, optimize, cpu)


def _cannot_encode(layer: Layer, encoding: str) -> UserError:
    """The error for a layer whose weights the one encoding refuses."""
    refusal = ENCODINGS[encoding].encode(layer.weighted.weight)
    assert isinstance(refusal, Refusal), layer.node.name
    return UserError(
        f"its weights {refusal.reason} for {setting('encoding', encoding)}",
        f"layer {layer.node.name}",
        f"{refusal.remedy}, or set {setting('encoding', 'auto')}",
    )


def kernels_for(layer: Layer, encoding: str | None, cpu: Cpu) -> list[Kernel]:
    """The kernels that run a layer on a target, with weights in an encoding (None: no weights)."""
    return [kernel for kernel in KERNELS.values() if kernel.accepts(layer, encoding, cpu)]


def _weight_bytes(weight: EncodedWeight | None, weighted: int) -> float:
    """Flash of a layer's constants, and its share of a decoder that all `weighted` layers call."""
    if weight is None:
        return 0
    return weight.flash_bytes + shared_code_bytes(weight.encoding) / weighted


def candidates(layer: Layer, encoding: str, cpu: Cpu) -> Iterator[Selection]:
    """Every way to compute a layer: kernel, encoding ("auto": any), and form of the bias."""
    if not isinstance(layer.node, WeightedNode):
        for kernel in kernels_for(layer, None, cpu):
            yield Selection(layer, kernel, None, kernel.cost(layer, None, cpu))
        return
    for name in _encodings(layer, encoding, cpu):
        for kernel, weight in _encoded(layer, name, cpu):
            yield Selection(layer, kernel, weight, kernel.cost(layer, weight, cpu))


def _encodings(layer: Layer, encoding: str, cpu: Cpu) -> list[str]:
    """The encodings to choose from."""
    if encoding == "auto":
        return list(ENCODINGS)
    return [encoding if kernels_for(layer, encoding, cpu) else _FALLBACK]


def _encoded(
    layer: Layer, encoding: str, cpu: Cpu
) -> Iterator[tuple[WeightedKernel, EncodedWeight]]:
    """Each kernel for an encoding, with each form of the constants that it accepts."""
    kernels = [k for k in kernels_for(layer, encoding, cpu) if isinstance(k, WeightedKernel)]
    arrays: dict[bytes, tuple[Array, ...] | Refusal] = {}
    for folded in (True, False):
        for kernel in kernels:
            if not kernel.accepts_bias(encoding, cpu, folded=folded):
                continue
            matrix = kernel.arrange(layer.weighted.weight)
            key = matrix.tobytes()
            if key not in arrays:
                arrays[key] = ENCODINGS[encoding].encode(matrix)
            weight = _constants(layer, encoding, arrays[key], folded=folded)
            if weight is not None:
                yield kernel, weight


def _constants(
    layer: Layer, encoding: str, arrays: tuple[Array, ...] | Refusal, *, folded: bool
) -> EncodedWeight | None:
    """A layer's constants with the input's zero point in the bias, or without; None if the weights
    cannot be encoded, or the kernel cannot subtract the zero point within 32 bits."""
    node, zero_point = layer.weighted, layer.quantization[0].zero_point
    if isinstance(arrays, Refusal):
        return None
    multiplier = in_smallest_dtype(node.multiplier)
    if folded:
        return EncodedWeight(
            encoding, arrays, in_smallest_dtype(node.bias), multiplier, zero_point=0
        )
    if not may_unfold(node, zero_point):
        return None
    return EncodedWeight(
        encoding, arrays, in_smallest_dtype(unfolded_bias(node, zero_point)), multiplier, zero_point
    )
