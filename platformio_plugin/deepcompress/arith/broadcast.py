"""Broadcasting of two tensors in an elementwise operator, as at most three nested loops.

Shapes are aligned at their last axes. Along an axis of size 1, or one that is missing, the same
values are read again. Neighbouring axes along which both tensors are read alike become one loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from math import prod

LOOPS = ("outer", "middle", "inner")

Shape = tuple[int, ...]


def broadcast(shapes: Sequence[Shape]) -> Shape:
    """The shape of the result.

    Raises:
        ValueError: the shapes cannot be broadcast.
    """
    axes = zip_longest(*(reversed(shape) for shape in shapes), fillvalue=1)
    result = []
    for sizes in axes:
        wide = {size for size in sizes if size != 1}
        if len(wide) > 1:
            raise ValueError(f"{shapes} have no common shape")
        result.append(wide.pop() if wide else 1)
    return tuple(reversed(result))


def nest(shapes: Sequence[Shape]) -> list[tuple[int, list[int]]]:
    """The loops from the outermost to the innermost: size, and the step in bytes per tensor."""
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
