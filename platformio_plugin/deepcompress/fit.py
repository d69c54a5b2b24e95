"""Whether a model fits its board, said before the C compiler runs: by how much not, and what would
help, each remedy with its own number."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from deepcompress.errors import UserError

SPARSITIES = (0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.92, 0.94, 0.96, 0.97, 0.98, 0.99)


def check_fits(facts: dict[str, Any], flash_at: Callable[[float], int]) -> None:
    """Raises UserError where the report's totals exceed the board's flash or RAM.

    Args:
        flash_at: bytes of flash that the model would take at a sparsity, all else the same.
    """
    _check_memory(facts, "flash", "flash", lambda: _flash_remedy(facts, flash_at))
    _check_memory(facts, "ram", "RAM", lambda: _ram_remedy(facts))


def _check_memory(
    facts: dict[str, Any], memory: str, spelled: str, remedy: Callable[[], str]
) -> None:
    total, limit = facts[memory]["total_bytes"], facts[memory]["limit_bytes"]
    if limit is not None and total > limit:
        raise UserError(
            f"it needs {total:,} bytes of {spelled}, {total - limit:,} more than the {limit:,} of "
            "the board",
            f"model {facts['name']}",
            remedy(),
        )


def _flash_remedy(facts: dict[str, Any], flash_at: Callable[[float], int]) -> str:
    flash = facts["flash"]
    if flash["total_bytes"] - flash["golden_bytes"] <= flash["limit_bytes"]:
        return f"The golden vectors take {flash['golden_bytes']:,}: set self_test = 0"
    largest = max(facts["layers"], key=lambda layer: layer["flash_bytes"])
    what = f"Most of it is layer {largest['name']} with {largest['flash_bytes']:,}"
    for sparsity in SPARSITIES:
        if flash_at(sparsity) + flash["golden_bytes"] <= flash["limit_bytes"]:
            return (
                f"{what}. With sparsity = {sparsity} and optimize = size it would fit; look at the "
                "accuracy then"
            )
    return f"{what}. No sparsity makes it fit: use a smaller network or a larger board"


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
