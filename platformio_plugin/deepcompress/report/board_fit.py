"""Checks whether a model fits its board before the C compiler runs.

If it does not, the error states by how much, and each remedy with its own number.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import numpy as np

from deepcompress.errors import UserError, setting
from deepcompress.ir.graph import Graph
from deepcompress.options import Options

SPARSITIES = (0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.92, 0.94, 0.96, 0.97, 0.98, 0.99)


def check_fits(facts: dict[str, Any], flash_at: Callable[[float], int]) -> None:
    """Raises UserError if the report's totals exceed the board's flash or RAM.

    Args:
        flash_at: from a sparsity to the bytes of flash that the model would need with it.
    """
    for problem in misfits(facts, flash_at):
        raise problem


def misfits(facts: dict[str, Any], flash_at: Callable[[float], int]) -> Iterator[UserError]:
    """The errors that `check_fits` raises, for flash and for RAM."""
    remedies: dict[str, Callable[[], str]] = {
        "flash": lambda: _flash_remedy(facts, flash_at),
        "ram": lambda: _ram_remedy(facts),
    }
    for memory, remedy in remedies.items():
        total, limit = facts[memory]["total_bytes"], facts[memory]["limit_bytes"]
        if limit is not None and total > limit:
            spelled = {"flash": "flash", "ram": "RAM"}[memory]
            yield UserError(
                f"it needs {total:,} bytes of {spelled}, {total - limit:,} more than the "
                f"{limit:,} of the board",
                f"model {facts['name']}",
                remedy(),
            )


def check_possible(graph: Graph, options: Options) -> None:
    """Raises UserError if not even one bit per weight fits, before encoding takes minutes."""
    limit = options.target.flash_limit
    kept = 1 - options.sparsity if isinstance(options.sparsity, float) else 1.0
    arrays = [array for node in graph.nodes for array in node.parameters.values()]
    weights = int(kept * sum(np.count_nonzero(array) for array in arrays))
    if limit is not None and weights // 8 > limit:
        raise UserError(
            f"it has {weights:,} weights that are not zero: with a bit for each, which no encoding "
            f"reaches, they take {weights // 8:,} bytes of flash, and the board has {limit:,}",
            f"model {graph.name}",
            f"Use a smaller network or a larger board; a byte a weight leaves room for "
            f"{100 * limit / weights:.1f}% of them",
        )


def _flash_remedy(facts: dict[str, Any], flash_at: Callable[[float], int]) -> str:
    flash = facts["flash"]
    if flash["total_bytes"] - flash["golden_bytes"] <= flash["limit_bytes"]:
        return f"The golden vectors take {flash['golden_bytes']:,}: set {setting('self_test', '0')}"
    largest = max(facts["layers"], key=lambda layer: layer["flash_bytes"])
    what = f"Most of it is layer {largest['name']} with {largest['flash_bytes']:,}"
    room = flash["limit_bytes"] - flash["golden_bytes"]
    enough = bisect_left(SPARSITIES, True, key=lambda sparsity: flash_at(sparsity) <= room)
    if enough == len(SPARSITIES):
        return f"{what}. No sparsity makes it fit: use a smaller network or a larger board"
    return (
        f"{what}. With {setting('sparsity', SPARSITIES[enough])} and "
        f"{setting('optimize', 'size')} it would fit; look at the accuracy then"
    )


def _ram_remedy(facts: dict[str, Any]) -> str:
    sizes = [
        (prod(layer["input_shape"]) + prod(layer["output_shape"]), layer["name"])
        for layer in facts["layers"]
    ]
    size, name = max(sizes)
    return (
        f"Input and output of layer {name} take {size:,} together: use a smaller input, a "
        "stride or pooling before this layer, or a larger board"
    )
