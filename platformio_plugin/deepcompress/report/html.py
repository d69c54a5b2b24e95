"""The report as one HTML page: what a person opens after a build. No script, no network.

All numbers are formatted and all coordinates computed here; the template has no arithmetic.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepcompress import escape

# The drawing, in units of the SVG: names at the left, a number after each bar.
_WIDTH, _NUMBERS, _LETTER = 640, 90, 7
_BAR, _GAP, _BETWEEN = 11, 2, 8
_LONGEST_NAME = 40


@dataclass(frozen=True)
class Tile:
    """One number of the summary, with its title and a note."""

    title: str
    value: str
    note: str


@dataclass(frozen=True)
class Table:
    """Texts; the first two columns are words."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Bar:
    """A rectangle; `kind` is its class in the style sheet."""

    kind: str
    x: float
    y: float
    width: float
    title: str


@dataclass(frozen=True)
class Text:
    kind: str
    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Chart:
    """Bars by layer. `legend` has (kind, meaning)."""

    title: str
    legend: Sequence[tuple[str, str]]
    height: int
    bars: Sequence[Bar]
    texts: Sequence[Text]
    width: int = _WIDTH
    bar_height: int = _BAR


def html(facts: Mapping[str, Any], measured: Mapping[str, Any] | None = None) -> str:
    """The page of one model.

    Args:
        facts: the JSON of `report`.
        measured: the JSON of a profile of its firmware, if there is one.
    """
    functions = measured["functions"] if measured else {}
    page: str = _template().render(
        facts=facts,
        measured=measured,
        tiles=_tiles(facts, measured),
        tables=_tables(facts, functions),
        charts=_charts(facts, functions),
    )
    return page


@functools.cache
def _template() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("deepcompress.report"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=True,
        finalize=escape.html_text,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("report.html.j2")


def by_layer(
    functions: Mapping[str, Any], layers: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any] | None]:
    """The measurements of each layer's function, None if there are none.

    A clone that gcc made of a function, such as lenet5_conv1.isra.0, counts as the function.
    """
    measured: dict[str, Mapping[str, Any]] = {}
    for name, row in functions.items():
        measured.setdefault(name.split(".")[0], row)
    return [measured.get(layer["function"]) for layer in layers]


# --- the summary


def _tiles(facts: Mapping[str, Any], measured: Mapping[str, Any] | None) -> list[Tile]:
    parameters, flash, ram = facts["parameters"], facts["flash"], facts["ram"]
    ratio = parameters["float_bytes"] / max(1, flash["weights_bytes"])
    left = parameters["nonzeros"] / max(1, sum(layer["weights"] for layer in facts["layers"]))
    tiles = [
        Tile(
            "Parameters",
            f"{flash['weights_bytes']:,} B",
            f"{ratio:.1f}x smaller than {parameters['float_bytes']:,} B of float; "
            f"{left:.1%} of the weights are left",
        ),
        Tile("Flash", f"{flash['total_bytes']:,} B", _of_limit(flash, "code is an estimate")),
        Tile(
            "RAM",
            f"{ram['total_bytes']:,} B",
            _of_limit(ram, f"arena {ram['arena_bytes']:,}, stack about {ram['stack_bytes']:,}"),
        ),
        _speed(facts, measured),
    ]
    return [*tiles, *_accuracy(facts["accuracy"])]


def share(memory: Mapping[str, Any]) -> str:
    """ "1.4% of the board's 64,000", or an empty text where that is not known."""
    limit = memory["limit_bytes"]
    if not limit:
        return ""
    percent = 100 * memory["total_bytes"] / limit
    return f"{f'{percent:.1f}' if percent >= 0.1 else '<0.1'}% of the board's {limit:,}"


def duration(facts: Mapping[str, Any], digits: int) -> str:
    """ ", 1.6 ms at 180 MHz", or an empty text where the clock is not known."""
    clock = facts["clock_hz"]
    return (
        f", {1e3 * facts['cycles'] / clock:.{digits}f} ms at {clock / 1e6:g} MHz" if clock else ""
    )


def _of_limit(memory: Mapping[str, Any], note: str) -> str:
    return "; ".join(filter(None, [share(memory), note]))


def _speed(facts: Mapping[str, Any], measured: Mapping[str, Any] | None) -> Tile:
    estimate = f"{facts['cycles']:,} estimated on {facts['cpu']}"
    if not measured:
        return Tile(
            "Cycles", f"{facts['cycles']:,}", f"estimated on {facts['cpu']}{duration(facts, 2)}"
        )
    inference = measured["inferences"][0]
    if inference["cycles"] is None:
        return Tile("Instructions", f"{inference['instructions']:,}", f"on {measured['cpu']}")
    cycles = {"cycles": inference["cycles"], "clock_hz": measured["clock_hz"]}
    return Tile("Cycles", f"{inference['cycles']:,}", f"profiled{duration(cycles, 2)}; {estimate}")


def _accuracy(accuracy: Mapping[str, Any] | None) -> list[Tile]:
    if accuracy is None:
        return []
    samples = f"on {accuracy['samples']:,} {accuracy['kind']} samples"
    if accuracy["int8_percent"] is None:
        same = f"{accuracy['agreement_percent']:.1f}%"
        return [Tile("Agreement", same, f"same class as the float network, {samples}")]
    note = f"int8; the float network {accuracy['float_percent']:.2f}%; {samples}"
    return [Tile("Accuracy", f"{accuracy['int8_percent']:.2f}%", note)]


# --- the tables

_BYTES = (
    "layer",
    "",
    "output",
    "non-zeros",
    "zeros",
    "encoding",
    "weights B",
    "bound B",
    "const B",
)
_PROFILED = {
    "instructions": ("instructions", "{:,.0f}"),
    "cycles": ("cycles", "{:,.0f}"),
    "cycles per dense MAC": ("cycles_per_dense_mac", "{:.2f}"),
    "ms": ("milliseconds", "{:.3f}"),
    "stack B": ("stack_bytes", "{:,}"),
    "read from flash B": ("flash_bytes", "{:,.0f}"),
    "code B": ("code_bytes", "{:,}"),
}


def _tables(facts: Mapping[str, Any], functions: Mapping[str, Any]) -> list[Table]:
    layers = facts["layers"]
    stored = [_stored_cells(layer) for layer in layers]
    tables = [Table("Layers", (*_BYTES, "dense MACs", "cycles, estimated"), stored)]
    if functions:
        measured = zip(layers, by_layer(functions, layers), strict=True)
        rows = [_profiled_cells(layer, row) for layer, row in measured]
        columns = [i for i in range(2 + len(_PROFILED)) if i < 2 or any(row[i] for row in rows)]
        heads = ("layer", "", *_PROFILED)
        kept = [[row[i] for i in columns] for row in rows]
        tables.append(Table("Layers, profiled", [heads[i] for i in columns], kept))
    return tables


def _stored_cells(layer: Mapping[str, Any]) -> list[str]:
    shape = " x ".join(str(size) for size in layer["output_shape"])
    words = [escape.name(layer["name"]), layer["describe"], shape]
    if not layer["weights"]:
        return [*words, "", "", "", "", "", "", "", f"{layer['cycles']:,}"]
    return [
        *words,
        f"{layer['nonzeros']:,} of {layer['weights']:,}",
        f"{1 - layer['nonzeros'] / layer['weights']:.1%}",
        layer["encoding"],
        f"{layer['weight_bytes']:,}",
        f"{layer['entropy_bytes']:,.0f}",
        f"{layer['constant_bytes']:,}",
        f"{layer['dense_macs']:,}",
        f"{layer['cycles']:,}",
    ]


def _profiled_cells(layer: Mapping[str, Any], row: Mapping[str, Any] | None) -> list[str]:
    """Cells are empty if the compiler inlined the layer, or a number was not measured."""
    values = [(form, row[key] if row else None) for key, form in _PROFILED.values()]
    texts = ["" if value is None else form.format(value) for form, value in values]
    return [escape.name(layer["name"]), layer["describe"], *texts]


# --- the drawings


def _charts(facts: Mapping[str, Any], functions: Mapping[str, Any]) -> list[Chart]:
    layers = facts["layers"]
    names = [layer["name"] for layer in layers]
    weighted = [layer for layer in layers if layer["weights"]]
    charts = [
        _chart(
            "Bytes of flash by layer",
            [layer["name"] for layer in weighted],
            {
                "weights, indices, tables": [layer["weight_bytes"] for layer in weighted],
                "biases, multipliers": [layer["constant_bytes"] for layer in weighted],
            },
            stacked=True,
        )
    ]
    estimated = {"estimated": [layer["cycles"] for layer in layers]}
    rows = by_layer(functions, layers)
    if any(row and row["cycles"] is not None for row in rows):
        measured = {"profiled": [row["cycles"] if row else 0 for row in rows]}
        return [*charts, _chart("Cycles by layer", names, estimated | measured)]
    if functions:
        counted = {"counted": [row["instructions"] if row else 0 for row in rows]}
        return [*charts, _chart("Instructions by layer", names, counted)]
    return [*charts, _chart("Cycles by layer", names, estimated)]


def _chart(
    title: str, names: Sequence[str], series: Mapping[str, Sequence[float]], stacked: bool = False
) -> Chart:
    """Horizontal bars, one row per name: series below each other, or stacked in one bar."""
    rows = list(zip(*series.values(), strict=True))
    most = max((sum(row) if stacked else max(row) for row in rows), default=0) or 1
    names = [escape.visible(name, _LONGEST_NAME) for name in names]
    left = _LETTER * max((len(name) for name in names), default=0) + 12
    height = (1 if stacked else len(series)) * (_BAR + _GAP) + _BETWEEN
    bars, texts = [], []
    for index, (name, values) in enumerate(zip(names, rows, strict=True)):
        x, y = float(left), index * height
        texts.append(Text("name", left - 8, y + (height - _BETWEEN + _BAR - 4) / 2, name))
        for number, (what, value) in enumerate(zip(series, values, strict=True)):
            width = round((_WIDTH - left - _NUMBERS) * value / most, 1)
            bars.append(Bar(f"series{number}", x, y, width, f"{name}: {value:,.0f} {what}"))
            if stacked:
                x += width
            else:
                texts.append(Text("number", x + width + 5, y + _BAR - 1, f"{value:,.0f}"))
                y += _BAR + _GAP
        if stacked:
            texts.append(Text("number", round(x + 5, 1), y + _BAR - 1, f"{sum(values):,.0f}"))
    legend = [(f"series{number}", what) for number, what in enumerate(series)]
    return Chart(title, legend, len(rows) * height, bars, texts)
