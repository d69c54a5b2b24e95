"""Files that take very long: sizes that explode, loops, and networks of many layers."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.export import Dim

from hostile import HostileFile
from hostile.archives import (
    SHAPE,
    Computes,
    exported,
    file_of,
    saved,
    script_forward,
    with_program,
)


def cases() -> Iterator[HostileFile]:
    yield from _sizes()
    yield from _loops()
    yield from _layers()


_SYMBOL = "Symbol('s77', positive=True, integer=True)"

SIZES = {
    "a tower of powers": "9**9**9**9",
    "a tower of Pow": "Pow(9, Pow(9, Pow(9, 9)))",
    "Pow of Integer": "Pow(Integer(9), Integer(999999999))",
    "a power of a symbol": f"{_SYMBOL}**9999999",
    "a power of a sum": f"Pow(Add({_SYMBOL}, 1), 5000)",
    "Max of 2,000": f"Max({', '.join(f'{_SYMBOL}+{i}' for i in range(2_000))})",
    "Max of Max": f"{'Max(' * 400}{_SYMBOL}{''.join(f', {i})' for i in range(400))}",
    "Min of 2,000 symbols": f"Min({', '.join(f's{i}' for i in range(2_000))})",
    "a sum of 100,000": "+".join(["1"] * 100_000),
    "nested sums": f"{'(' * 90}1{')' * 90}",
    "many parentheses": f"{'(' * 50_000}1{')' * 50_000}",
    "a number of 4,000 digits": "9" * 4_000,
    "products of large numbers": "*".join(["9223372036854775807"] * 200),
    "Mod of powers": "Mod(Pow(7, 9999999), 3)",
    "a product of sums": "*".join([f"({_SYMBOL}+1)"] * 200),
    "division by zero": "FloorDiv(1, 0)",
    "infinity": "oo",
    "a comparison": f"Eq({_SYMBOL}, {_SYMBOL})",
}


# Those that are evaluated quickly, or that torch refuses itself.
HARMLESS_SIZES = (
    "nested sums",
    "division by zero",
    "infinity",
    "a comparison",
)


def _with_sizes(text: str) -> bytes:
    """A program in which every symbolic size is this expression."""

    def change(value: object) -> None:
        for part in value if isinstance(value, list) else []:
            change(part)
        if isinstance(value, dict):
            if "expr_str" in value:
                value["expr_str"] = text
            for part in value.values():
                change(part)

    archive = exported(Computes(torch.relu), dynamic_shapes=({0: Dim("batch")},))
    return with_program(archive, change)


def _sizes() -> Iterator[HostileFile]:
    for name, text in SIZES.items():
        yield file_of("symbolic sizes", name, lambda text=text: _with_sizes(text), opens=None)
    size = Dim("size", min=2, max=64)
    square = {0: Dim("batch"), 2: size, 3: size}
    yield file_of(
        "symbolic sizes",
        "a square image, flattened",
        lambda: exported(Computes(lambda x: x.flatten(1) * 2.0), dynamic_shapes=(square,)),
        opens=True,
    )


_LOOPS: dict[str, tuple[str, ...]] = {
    "while True": ("_0 = True", "while _0:", "  x = torch.relu(x)", "return x"),
    "a long range": ("for i in range(1000000000000):", "  x = torch.relu(x)", "return x"),
    "an empty long range": ("for i in range(9223372036854775807):", "  pass", "return x"),
    "nested ranges": (
        "for i in range(100000):",
        "  for j in range(100000):",
        "    x = torch.add(x, 1)",
        "return x",
    ),
    "a growing list": (
        "y = [1]",
        "for i in range(1000000000):",
        "  y = torch.add(y, y)",
        "return x",
    ),
    "a growing text": (
        'y = "a"',
        "for i in range(1000000000):",
        "  y = torch.add(y, y)",
        "return x",
    ),
    "a growing tensor": (
        "for i in range(1000000):",
        "  x = torch.cat([x, x], 1)",
        "return x",
    ),
    "recursion": ("return (self).forward(x, )",),
    "a range of 20,000": ("for i in range(20000):", "  x = torch.relu(x)", "return x"),
}


def _loops() -> Iterator[HostileFile]:
    for name, lines in _LOOPS.items():
        empty = name == "an empty long range"  # which torch removes
        yield file_of(
            "loops in scripts",
            name,
            lambda lines=lines: script_forward(lines),
            opens=None if empty else False,
        )


def _layers() -> Iterator[HostileFile]:
    def program(layers: int) -> Callable[[], bytes]:
        def lengthen(program: dict) -> None:
            """Repeats the one layer of a program."""
            graph = program["graph_module"]["graph"]
            (node,), values = graph["nodes"], graph["tensor_values"]
            source, result = node["inputs"][0]["arg"]["as_tensor"]["name"], node["name"]
            names = [source, *(f"relu_{i}" for i in range(1, layers)), result]
            graph["nodes"] = [
                {
                    **node,
                    "name": after,
                    "inputs": [{**node["inputs"][0], "arg": {"as_tensor": {"name": before}}}],
                    "outputs": [{"as_tensor": {"name": after}}],
                }
                for before, after in itertools.pairwise(names)
            ]
            values.update(dict.fromkeys(names[1:], values[result]))

        return lambda: with_program(exported(Computes(torch.relu)), lengthen)

    def pickled(layers: int) -> Callable[[], bytes]:
        return lambda: saved(nn.Sequential(*(nn.ReLU() for _ in range(layers))))

    def script(layers: int) -> Callable[[], bytes]:
        return lambda: script_forward([*["x = torch.relu(x)"] * layers, "return x"])

    def convolutions() -> bytes:
        return saved(nn.Sequential(*(nn.Conv2d(1, 1, 1) for _ in range(4_000))))

    def one_layer_often() -> bytes:
        return saved(nn.Sequential(*[nn.Conv2d(1, 1, 1)] * 20_000))

    def exponential() -> bytes:
        """Modules that each hold the one before twice: 2^30 layers in a small file."""
        net: nn.Module = nn.ReLU()
        for _ in range(30):
            net = nn.Sequential(net, net)
        return saved(net)

    for kind, make in {"program": program, "pickle": pickled, "script": script}.items():
        for layers in (20_000, 4_000):
            yield file_of("many layers", f"{layers:,} in a {kind}", make(layers), opens=None)
    yield file_of("many layers", "4,000 convolutions", convolutions, opens=None)
    yield file_of("many layers", "one convolution 20,000 times", one_layer_often)
    yield file_of("many layers", "modules that hold each other twice", exponential)
    yield file_of("many layers", "a GRU of 20,000 steps", _long_gru, input_shape=(20_000, 4))
    yield file_of("many layers", "a script of 1,000 calls", _unrolled, opens=None)


def _long_gru() -> bytes:
    return saved(nn.Sequential(nn.GRU(4, 4, batch_first=True)))


def _unrolled() -> bytes:
    def repeat(x: torch.Tensor) -> torch.Tensor:
        for _ in range(1_000):
            x = torch.relu(x + 1.0)
        return x

    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(Computes(repeat), torch.ones(1, *SHAPE)), buffer)
    return buffer.getvalue()
