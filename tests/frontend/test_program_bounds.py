"""The JSON of an exported program is checked before torch evaluates its sizes and reads weights."""

from __future__ import annotations

from pathlib import Path

import pytest
from deepcompress.errors import UserError
from deepcompress.frontend.open_graph import open_graph
from deepcompress.frontend.pickle_bounds import Refused
from deepcompress.frontend.program_bounds import check_size
from deepcompress.options import Options
from hostile import exhaustion, hangs

SYMBOL = "Symbol('s77', positive=True, integer=True)"


@pytest.mark.parametrize(
    "size",
    [
        SYMBOL,
        f"Pow({SYMBOL}, Integer(2))",
        f"{SYMBOL}**2",
        f"Mul(Integer(4), Add({SYMBOL}, Integer(-2)))",
        f"FloorDiv(Add({SYMBOL}, Integer(-1)), Integer(2)) + 1",
        f"Max(1, {SYMBOL})",
        "oo",
    ],
)
def test_sizes_that_torch_writes_pass(size: str) -> None:
    check_size(size)


@pytest.mark.parametrize("name", sorted({*hangs.SIZES} - {*hangs.HARMLESS_SIZES}))
def test_a_size_that_explodes_is_refused(name: str) -> None:
    with pytest.raises(Refused, match="size"):
        check_size(hangs.SIZES[name])


FILES = {file.name: file for file in exhaustion.cases() if file.kind.startswith("sizes of weights")}


@pytest.mark.parametrize("name", FILES)
def test_a_weight_is_not_larger_than_its_member(name: str, tmp_path: Path) -> None:
    path = FILES[name].write(tmp_path)
    with pytest.raises(UserError):
        open_graph(path, Options(**FILES[name].options), name="net")


def test_the_number_of_layers_has_an_option(tmp_path: Path) -> None:
    (file,) = [f for f in hangs.cases() if f.name == "4,000 in a program"]
    path = file.write(tmp_path)
    with pytest.raises(UserError, match=r"has 4,000 layers; at most 3,999 .*raise open_layers"):
        open_graph(path, Options(open_layers=3_999), name="net")
