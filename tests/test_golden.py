"""The generated C and reports of the golden networks equal the reviewed ones."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from deepcompress.encodings import ENCODINGS
from deepcompress.ops import OPERATORS
from golden import store
from golden.cases import CPUS, Case
from golden.generate import cases, compile_alone, generate
from golden.networks import NETWORKS

INCLUDE = Path(__file__).parent.parent / "include" / "deepcompress"
SHOWN = 20


@pytest.fixture(scope="module")
def expected() -> dict[Case, dict[str, str]]:
    return store.read()


@pytest.fixture(scope="module")
def all_c(expected: dict[Case, dict[str, str]]) -> str:
    return "".join(texts[f"{case.network}.c"] for case, texts in expected.items())


def test_the_generated_files_equal_the_reviewed_ones(expected: dict[Case, dict[str, str]]) -> None:
    found = store.differences(expected, dict(generate()))
    more = [f"... and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    advice = "see all: make diff-c; where the change is meant: make golden, and review git diff"
    assert not found, "\n".join(["", *found[:SHOWN], *more, advice])


@pytest.mark.parametrize("case", [Case("lenet", "m4", "speed"), Case("tied", "m0plus", "size")])
def test_the_generated_files_are_what_a_user_gets(
    expected: dict[Case, dict[str, str]], case: Case
) -> None:
    (network,) = (network for network in NETWORKS if network.name == case.network)
    assert compile_alone(network, case) == expected[case]


def test_there_is_a_golden_case_for_each_network_cpu_and_goal(
    expected: dict[Case, dict[str, str]],
) -> None:
    assert set(expected) == set(cases())
    assert len([n for n in NETWORKS if len(n.goals) == 3]) >= 12
    assert {case.cpu for case in expected} == set(CPUS)


def test_every_operator_with_a_kernel_is_in_a_golden_file(all_c: str) -> None:
    included = set(re.findall(r'"deepcompress/kernels/(\w+)\.h"', all_c))
    with_kernels = {name for name in OPERATORS if (INCLUDE / "kernels" / f"{name}.h").is_file()}
    assert with_kernels - included == set()


def test_every_encoding_is_in_a_golden_file(all_c: str) -> None:
    assert set(re.findall(r"; (\w+), \d+ of \d+ weights", all_c)) == set(ENCODINGS)


@pytest.mark.parametrize(
    "text",
    [
        "dc_conv2d_taps_dsp16(",
        "dc_conv2d_taps_dsp8(",
        ".pooled = 1",
        ".dilation_height = 2",
        ".groups = 4",
        ".stride_height = 2",
        ".kernel_height = 1,\n        .kernel_width = 1",
        "_reset(",
        "_infer_uint8(",
        'return index >= 0 && index < 3 ? labels[index] : ""',
        "golden_inputs",
    ],
)
def test_every_variant_is_in_a_golden_file(all_c: str, text: str) -> None:
    assert text in all_c


def test_every_golden_network_states_all_ranges_or_measures_exactly(
    expected: dict[Case, dict[str, str]],
) -> None:
    """A range that is measured on random floats might differ on another machine.

    Among the rows is a constant, whose range is that of its own values.
    """
    warned = {c.network for c, texts in expected.items() if "random inputs" in texts[store.REPORT]}
    assert warned == {"rows"}


def test_golden_files_are_small() -> None:
    files = [path for path in store.FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1_500_000


# --- storage

TARGETS = [Case("net", "m4", "size"), Case("net", "m4", "speed"), Case("net", "m55", "speed")]


def report(**facts: object) -> str:
    layers = [{"name": "a", "cycles": 1, "shape": [2, 3]}, {"name": "b", "cycles": 2}]
    return json.dumps({"cpu": "x", "layers": layers, "accuracy": None, **facts}, indent=1) + "\n"


def golden(**texts: str) -> dict[Case, dict[str, str]]:
    """Three cases of these files."""
    named = {name.replace("_", "."): text for name, text in texts.items()}
    return {case: {**named, store.REPORT: report()} for case in TARGETS}


def test_packed_files_are_unpacked_exactly() -> None:
    given = golden(net_c="int a;\n", net_h="h\n")
    given[TARGETS[1]]["net.h"] = "other\n"
    packed = store.pack(given)
    assert set(packed) == {"net.c", "net.m4-size.h", "net.m4-speed.h", "index.txt", "reports.json"}
    assert store.unpack("net", packed) == given


def test_a_header_that_names_goal_and_cpu_is_stored_once() -> None:
    given = {
        case: {"net.h": f" * optimize = {case.goal}\n * cpu = {CPUS[case.cpu]}\n", **texts}
        for case, texts in golden(net_c="").items()
    }
    packed = store.pack(given)
    assert packed["net.h"] == " * optimize = {goal}\n * cpu = {cpu}\n"
    assert store.unpack("net", packed) == given


def test_written_files_are_read_back(tmp_path: Path) -> None:
    given = golden(net_c="ü\n")
    store.write(given, tmp_path / "expected")
    assert store.read(tmp_path / "expected") == given


@pytest.mark.parametrize(
    "facts",
    [
        {"cpu": "y", "layers": [{"name": "a", "cycles": 7, "shape": [2]}, {"name": "b"}]},
        {"layers": [{"name": "a", "cycles": 1}]},
        {"layers": []},
        {"layers": [{"cycles": 1, "name": "a", "shape": [2, 3]}, {"name": "b", "cycles": 2}]},
        {"accuracy": {"samples": 3}},
        {"warnings": ["one"]},
        {"cpu": None},
    ],
)
def test_reports_that_differ_are_unpacked_exactly(facts: dict) -> None:
    given = golden(net_c="")
    given[TARGETS[1]][store.REPORT] = report(**facts)
    assert store.unpack("net", store.pack(given)) == given


def test_a_stored_report_omits_what_the_first_one_states() -> None:
    given = golden(net_c="")
    given[TARGETS[1]][store.REPORT] = report(cpu="y")
    packed = json.loads(store.pack(given)["reports.json"])
    assert packed["m4-speed"] == {"cpu": "y"} and packed["m55-speed"] == {}


def test_a_difference_names_case_file_and_line() -> None:
    before, after = golden(net_c="int a;\nint b;\n"), golden(net_c="int a;\nint b;\n")
    after[TARGETS[0]]["net.c"] = "int a;\nint c;\n"
    del after[TARGETS[1]]
    assert store.differences(before, after) == [
        "net m4-size: net.c: line 2: int b; -> int c;",
        "net m4-speed: gone",
    ]
    assert store.differences(after, after) == []
