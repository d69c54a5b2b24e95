"""Whether a model fits its board, said before the C compiler runs: by how much not, and what would
help, each remedy with its own number."""

from __future__ import annotations

from typing import Any

from deepcompress.errors import UserError
from deepcompress.options import Options


def check_fits(facts: dict[str, Any], options: Options) -> None:
    """Raises UserError where the report's totals exceed the board's flash or RAM."""
    for memory, remedy in (("flash", _flash_remedy), ("ram", _ram_remedy)):
        total, limit = facts[memory]["total_bytes"], facts[memory]["limit_bytes"]
        if limit is not None and total > limit:
            raise UserError(
                f"it needs {total:,} bytes of {'flash' if memory == 'flash' else 'RAM'}, "
                f"{total - limit:,} more than the {limit:,} of the board",
                f"model {facts['name']}",
                remedy(facts, options),
            )


def _flash_remedy(facts: dict[str, Any], options: Options) -> str:
    flash = facts["flash"]
    largest = max(facts["layers"], key=lambda layer: layer["flash_bytes"])
    what = f"Most of it is layer {largest['name']} with {largest['flash_bytes']:,}"
    if flash["golden_bytes"] > flash["total_bytes"] - flash["limit_bytes"]:
        return f"The golden vectors take {flash['golden_bytes']:,}: set self_test = 0"
    room = flash["limit_bytes"] - flash["code_bytes"] - flash["golden_bytes"]
    weights = sum(layer["weights"] for layer in facts["layers"])
    fixed = flash["weights_bytes"] - _stored_bytes(facts)
    # Two bytes a weight that is left, in the delta encoding.
    kept = max(0, room - fixed) / 2
    if kept < 0.005 * weights:
        return f"{what}. No sparsity makes it fit: use a smaller network or a larger board"
    sparsity = 1 - kept / weights
    return f"{what}. It would fit with sparsity = {sparsity:.2f}"


def _stored_bytes(facts: dict[str, Any]) -> int:
    """Bytes of weights as stored, without biases and multipliers."""
    return sum(
        layer["weights"] if layer["encoding"] == "dense" else 2 * layer["nonzeros"]
        for layer in facts["layers"]
    )


def _ram_remedy(facts: dict[str, Any], options: Options) -> str:
    sizes = [
        (_size(layer["input_shape"]) + _size(layer["output_shape"]), layer["name"])
        for layer in facts["layers"]
    ]
    size, name = max(sizes)
    return (
        f"Input and output of layer {name} take {size:,} together: use a smaller input, a "
        "stride or pooling before this layer, or a larger board"
    )


def _size(shape: list[int]) -> int:
    size = 1
    for extent in shape:
        size *= extent
    return size
