"""The report in HTML is complete, needs no network, and its drawings fit."""

from __future__ import annotations

import copy
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest
from deepcompress.report.html import html

CONV = {
    "name": "conv1", "function": "net_conv1", "describe": "Conv2d 1->6 5x5",
    "input_shape": [1, 32, 32], "output_shape": [6, 28, 28], "weights": 150, "nonzeros": 30,
    "encoding": "delta", "flash_bytes": 84, "weight_bytes": 66, "constant_bytes": 18,
    "entropy_bytes": 30.2, "code_bytes": 400, "macs": 23520, "dense_macs": 117600,
    "cycles": 161652,
}  # fmt: skip
POOL = CONV | {
    "name": "pool", "function": "net_pool", "describe": "max 2x2", "weights": 0, "nonzeros": 0,
    "encoding": None, "flash_bytes": 0, "weight_bytes": 0, "constant_bytes": 0,
    "entropy_bytes": 0.0, "dense_macs": 0, "cycles": 5000,
}  # fmt: skip
FACTS = {
    "schema": 1, "name": "net", "version": "0.1.0", "source": "net.pt", "cpu": "cortex-m4",
    "layers": [CONV, POOL],
    "parameters": {"count": 156, "float_bytes": 624, "nonzeros": 30, "weight_bytes": 66,
                   "constant_bytes": 18, "entropy_bytes": 30.2},
    "flash": {"weights_bytes": 84, "code_bytes": 820, "golden_bytes": 0, "total_bytes": 904,
              "limit_bytes": 64000},
    "ram": {"arena_bytes": 2232, "stack_bytes": 200, "total_bytes": 2432, "limit_bytes": None},
    "cycles": 166652, "clock_hz": 84_000_000,
    "accuracy": {"kind": "calibration", "samples": 512, "float_percent": 99.5,
                 "int8_percent": 99.25, "agreement_percent": 99.6},
    "warnings": [],
}  # fmt: skip


def measured(cycles: int | None = 159_044) -> dict:
    row = {
        "role": "layer", "calls": 1, "instructions": 121059.0, "cycles": cycles, "stack_bytes": 72,
        "flash_bytes": None, "code_bytes": 396, "milliseconds": 1.893, "dense_macs": 117600,
        "cycles_per_dense_mac": 1.35,
    }  # fmt: skip
    if cycles is None:
        row |= dict.fromkeys(("stack_bytes", "milliseconds", "cycles_per_dense_mac"))
    return {
        "cpu": "cortex-m4", "source": "a manual", "limits": "no caches", "clock_hz": 84_000_000,
        "wait_states": 0,
        "inferences": [{"function": "net_infer_int8", "instructions": 130_000, "cycles": cycles}],
        "functions": {"net_conv1.isra.0": row},
    }  # fmt: skip


class Cells(HTMLParser):
    """Collects the texts of table cells and all tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.tags: set[str] = set()
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self._inside = tag in ("td", "th")
        if self._inside:
            self.cells.append("")

    def handle_data(self, data):
        if self._inside:
            self.cells[-1] += data

    def handle_endtag(self, tag):
        self._inside = False


def drawings(text: str) -> list[ET.Element]:
    return [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]


def test_a_layer_is_a_row_with_its_bytes_encoding_sparsity_and_cycles() -> None:
    cells = Cells(html(FACTS)).cells
    first = cells.index("conv1")
    assert cells[first : first + 11] == [
        "conv1", "Conv2d 1->6 5x5", "6 x 28 x 28", "30 of 150", "80.0%", "delta", "66", "30", "18",
        "117,600", "161,652",
    ]  # fmt: skip
    assert cells[cells.index("pool") + 10] == "5,000"


def test_the_page_needs_no_network_and_no_script() -> None:
    text = html(FACTS, measured())
    assert not {"script", "link", "img", "iframe"} & Cells(text).tags
    assert "http" not in text
    assert "url(" not in text


def test_the_summary_has_the_boards_limits_if_they_are_known() -> None:
    text = html(FACTS)
    assert "7.4x smaller than 624 B of float" in text
    assert "1.4% of the board&#39;s 64,000" in text
    assert "arena 2,232, stack about 200" in text
    assert "estimated on cortex-m4, 1.98 ms at 84 MHz" in text
    assert "99.25%" in text


@pytest.mark.parametrize("profile", [None, measured(), measured(None)])
def test_every_bar_and_number_is_inside_its_drawing(profile: dict | None) -> None:
    facts = copy.deepcopy(FACTS)
    facts["layers"][0]["name"] = "features.12.very_long_name"
    for svg in drawings(html(facts, profile)):
        _, _, width, height = map(float, svg.get("viewBox").split())
        for bar in svg.iter("rect"):
            x, y, wide, high = (float(bar.get(key)) for key in ("x", "y", "width", "height"))
            assert 0 <= x <= x + wide <= width - 60
            assert 0 <= y <= y + high <= height
        for text in svg.iter("text"):
            assert 0 < float(text.get("x")) <= width - 60
            assert 0 < float(text.get("y")) <= height


def test_bar_lengths_are_proportional_to_their_values() -> None:
    cycles = drawings(html(FACTS, measured()))[1]
    width = {bar.find("title").text: float(bar.get("width")) for bar in cycles.iter("rect")}
    longest = width["conv1: 161,652 estimated"]
    assert width["conv1: 159,044 profiled"] == pytest.approx(longest * 159_044 / 161_652, abs=0.1)
    assert width["pool: 5,000 estimated"] == pytest.approx(longest * 5_000 / 161_652, abs=0.1)


def test_a_profile_adds_its_columns_and_states_its_method() -> None:
    text = html(FACTS, measured())
    cells = Cells(text).cells
    start = cells.index("instructions")
    heads = cells[start : start + 6]
    assert heads == ["instructions", "cycles", "cycles per dense MAC", "ms", "stack B", "code B"]
    assert cells[start + 6 : start + 14] == [
        "conv1", "Conv2d 1->6 5x5", "121,059", "159,044", "1.35", "1.893", "72", "396",
    ]  # fmt: skip
    assert "a manual. The model: no caches." in text
    assert "profiled, 1.89 ms at 84 MHz; 166,652 estimated" in text


def test_instructions_are_drawn_if_cycles_are_not_known() -> None:
    text = html(FACTS, measured(None))
    assert "Instructions by layer" in text
    assert "cycles per dense MAC" not in text


def test_names_from_the_user_are_escaped_in_html() -> None:
    facts = copy.deepcopy(FACTS)
    facts["layers"][0]["name"] = "<b>&co"
    facts["warnings"] = ["no <calibration>"]
    text = html(facts)
    assert "<b>" not in text
    assert "no &lt;calibration&gt;" in text
    assert "<b>&co" in Cells(text).cells
