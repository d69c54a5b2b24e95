"""Two tensors of different shapes, value by value, as at most three nested loops.

Shapes are aligned at their last axes; an axis of one position, or none, is read again and again.
Neighbouring axes that both tensors walk through alike become one loop.
"""

from __future__ import annotations

from itertools import zip_longest
from math import prod

LOOPS = ("outer", "middle", "inner")

Shape = tuple[int, ...]


def broadcast(shapes: list[Shape]) -> Shape:
    """The shape of the result; ValueError where there is none."""
    axes = zip_longest(*(reversed(shape) for shape in shapes), fillvalue=1)
    result = []
    for sizes in axes:
        wide = {size for size in sizes if size != 1}
        if len(wide) > 1:
            raise ValueError(f"{shapes} have no common shape")
        result.append(wide.pop() if wide else 1)
    return tuple(reversed(result))


def nest(shapes: list[Shape]) -> list[tuple[int, list[int]]]:
    """Loops from the outermost to the innermost: size, and the step of each tensor in bytes."""
    result = broadcast(shapes)
    padded = [(1,) * (len(result) - len(shape)) + shape for shape in shapes]
    loops: list[tuple[int, list[int]]] = []
    for axis, size in reversed(list(enumerate(result))):
        steps = [prod(shape[axis + 1 :]) if shape[axis] == size else 0 for shape in padded]
        if size == 1:
            continue
        if loops and steps == [step * loops[0][0] for step in loops[0][1]]:
            loops[0] = (size * loops[0][0], loops[0][1])
        else:
            loops.insert(0, (size, steps))
    return loops


def c_loops(shapes: list[Shape]) -> dict[str, int]:
    """Fields of dc_broadcast in include/deepcompress/kernels/broadcast.h."""
    loops = nest(shapes)
    loops = [(1, [0] * len(shapes))] * (len(LOOPS) - len(loops)) + loops
    fields = {f"loops.{name}": size for name, (size, _) in zip(LOOPS, loops, strict=True)}
    for i, operand in enumerate(("first", "second")):
        for name, (_, steps) in zip(LOOPS, loops, strict=True):
            fields[f"loops.{operand}_{name}"] = steps[i]
    return fields
