"""How much memory and time opening a model file may take, and how many layers it may have."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path

from deepcompress.errors import UserError, setting
from deepcompress.frontend.file_errors import where
from deepcompress.ir.graph import Graph
from deepcompress.options import Options

# Shares of the memory. The compiler keeps a weight in float32, float64 and int8 at once, and runs
# several samples through the network: what it needs later stays below twice the limit.
_BYTES_PER_WEIGHT = 32
_BYTES_PER_VALUE = 128
_MEGA = 1 << 20
_LONGEST_NAME = 1_000


@dataclass(frozen=True)
class OpenLimits:
    """The bounds of one opening.

    Attributes:
        memory: bytes that it may allocate, torch itself excluded.
        seconds: of processor time; an idle wait may take `wall_seconds`.
        layers: most calls of the network.
    """

    memory: int
    seconds: int
    layers: int

    @property
    def wall_seconds(self) -> int:
        """The time after which an opening ends that waits instead of computing."""
        return 4 * self.seconds

    @property
    def weights(self) -> int:
        """Most numbers that a network may store."""
        return self.memory // _BYTES_PER_WEIGHT

    @property
    def values(self) -> int:
        """Most values of one activation tensor."""
        return self.memory // _BYTES_PER_VALUE


def limits_of(options: Options) -> OpenLimits:
    return OpenLimits(options.open_memory * _MEGA, options.open_seconds, options.open_layers)


def check_graph(graph: Graph, limits: OpenLimits, path: Path) -> None:
    """Raises UserError if a network is larger than the compiler can work on within its limits."""
    check_layers(len(graph.nodes), limits, path)
    name = max((node.name for node in graph.nodes), key=len, default="")
    if len(name) > _LONGEST_NAME:
        raise UserError(
            f"its layer {name[:40]}... has a name of {len(name):,} characters",
            where(path),
            "Give it a shorter name in the Python model",
        )
    weights = sum(array.size for node in graph.nodes for array in node.parameters.values())
    if weights > limits.weights:
        raise too_large(f"its layers store {weights:,} numbers", path)
    tensor = max(graph.tensors.values(), key=lambda tensor: tensor.size, default=None)
    if tensor is not None and tensor.size > limits.values:
        raise too_large(f"tensor {tensor.name} has {tensor.size:,} values", path)


def check_layers(layers: int, limits: OpenLimits, path: Path) -> None:
    """Raises UserError if a network has too many layers."""
    if layers > limits.layers:
        raise UserError(
            f"its network has {layers:,} layers; at most {limits.layers:,} are opened",
            where(path),
            f"If the file is right, raise {setting('open_layers')}",
        )


def check_numbers(shape: Iterable[int], limits: OpenLimits, path: Path, what: str) -> None:
    """Raises UserError if a stored tensor of this shape has too many numbers."""
    numbers = prod(shape)
    if numbers > limits.weights:
        raise too_large(f"{what} has {numbers:,} numbers", path)


def too_large(what: str, path: Path) -> UserError:
    return UserError(
        f"{what}: more than the compiler can work on within its limit of memory",
        where(path),
        f"No microcontroller stores as much. If the file is right, raise {setting('open_memory')}",
    )


def out_of_memory(limits: OpenLimits, path: Path) -> UserError:
    return UserError(
        f"opening it needs more than {limits.memory // _MEGA:,} MB of memory",
        where(path),
        f"It may be damaged or hostile. If the file is right, raise {setting('open_memory')}",
    )


def out_of_time(limits: OpenLimits, path: Path) -> UserError:
    return UserError(
        f"opening it takes more than {limits.seconds} s",
        where(path),
        f"It may be damaged or hostile. If the file is right, raise {setting('open_seconds')}",
    )
