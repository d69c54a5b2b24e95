"""`make diff-c`: the differences that it finds in texts and in numbers, and its output."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from golden import diff, measure, store
from golden.cases import Case
from golden.diff import Change
from golden.measure import Function, Measured

C = """\
#include "net.h"

/* a comment */
DC_LAYER void net_one(const int8_t *input, int8_t *output) {
    static const dc_linear shape = {
        .in_features = 8,
    };
    dc_linear_int8(&shape, input, output);
}

const int8_t *net_infer_int8(net_arena *arena, const int8_t *input) {
    return input;
}
"""
WEIGHTS = """\
/* 2 bytes */
static const int8_t net_values[2] = {
    1, 2
};
static const int16_t net_bias[1] = {
    3
};
"""
CASE, OTHER = Case("net", "m4", "size"), Case("net", "m55", "size")


def report(cycles: int = 5, ram: int = 20) -> str:
    return json.dumps(
        {
            "layers": [{"name": "fc", "cycles": cycles}],
            "flash": {"weights_bytes": 10, "total_bytes": 30},
            "ram": {"arena_bytes": ram - 8, "total_bytes": ram},
        }
    )


def test_blocks_are_functions_and_constants() -> None:
    assert set(diff.blocks(C)) == {"(outside of functions)", "net_one", "net_infer_int8"}
    assert set(diff.blocks(WEIGHTS)) == {"(outside of functions)", "net_values", "net_bias"}
    assert "".join(sorted("".join(diff.blocks(C).values()))) == "".join(sorted(C))


@pytest.mark.parametrize(
    ("name", "before", "old", "new", "parts"),
    [
        ("net.c", C, "= 8", "= 9", ["net_one"]),
        ("net.c", C, "return input", "return 0", ["net_infer_int8"]),
        ("net.c", C, "a comment", "another", ["(outside of functions)"]),
        ("net_weights.h", WEIGHTS, "1, 2", "1, 3", ["net_values"]),
        ("report.json", report(), '"cycles": 5', '"cycles": 6', ["layers.fc.cycles"]),
    ],
)
def test_a_change_is_reported_by_function_or_fact(
    name: str, before: str, old: str, new: str, parts: list[str]
) -> None:
    assert diff.changed_parts(name, before, before.replace(old, new)) == parts


def test_cases_that_change_alike_share_a_line() -> None:
    before = {case: {"net.c": C} for case in (CASE, OTHER)}
    after = {case: {"net.c": C.replace("= 8", "= 9")} for case in (CASE, OTHER)}
    assert diff.text_changes(before, after) == ["net.c: net_one (m4-size m55-size)"]
    assert diff.text_changes(before, before) == []
    lines = list(diff.unified(before, after))
    assert [line for line in lines if line[0] in "+-"][2:] == [
        "-        .in_features = 8,",
        "+        .in_features = 9,",
    ]


def test_functions_whose_bytes_differ_are_compared_number_by_number() -> None:
    before = Measured({"f": Function("a", 100, 8, 50), "g": Function("b", 10, 0, 5)}, 55, 16)
    after = Measured({"f": Function("c", 90, 16, 50), "g": Function("b", 10, 0, 5)}, 55, 24)
    assert diff.function_changes(CASE, before, after) == [
        Change(CASE, "f", "code", 100, 90),
        Change(CASE, "f", "stack", 8, 16),
        Change(CASE, "f", "cycles", 50, 50),
        Change(CASE, diff.SUM, "code", 110, 100),
        Change(CASE, diff.SUM, "stack", 16, 24),
        Change(CASE, diff.SUM, "cycles", 55, 55),
    ]
    assert diff.function_changes(CASE, before, before) == []


@pytest.mark.parametrize(
    ("before", "after", "text", "worse"),
    [
        (120, 1132, "code 120 -> 1,132 (+1,012)", True),
        (120, 100, "code 120 -> 100 (-20)", False),
        (120, 120, "code 120", False),
        (None, 7, "code 0 -> 7 (new)", False),
        (7, None, "code 7 -> 0 (gone)", False),
    ],
)
def test_a_number_before_and_after(
    before: int | None, after: int | None, text: str, worse: bool
) -> None:
    change = Change(CASE, "f", "code", before, after)
    assert (diff.draw(change), change.worse) == (text, worse)


def test_the_table_has_one_row_for_equal_rows_of_targets() -> None:
    changes = [
        Change(case, "f", what, 1, 2) for case in (CASE, OTHER) for what in ("code", "stack")
    ]
    changes.append(Change(CASE, "longer", "cycles", None, None))
    assert [" ".join(line.split()) for line in diff.table(changes)] == [
        "net f code 1 -> 2 (+1) stack 1 -> 2 (+1) m4-size m55-size",
        "net longer m4-size",
    ]


def test_more_ram_in_a_report_is_worse() -> None:
    before, after = {CASE: {store.REPORT: report()}}, {CASE: {store.REPORT: report(ram=24)}}
    changes = diff.report_changes(before, after)
    assert [change.what for change in changes] == ["arena", "ram"]
    assert all(change.worse for change in changes)


def test_frames_are_read_from_stack_usage() -> None:
    text = "net.c:12:6:net_one\t48\tstatic\nnet.c:30:6:net_two.constprop.0\t0\tdynamic,bounded\n"
    assert measure.read_stack(text) == {"net_one": 48, "net_two.constprop.0": 0}


@pytest.mark.usefixtures("arm_tools")
def test_a_change_of_a_header_alone_is_found(tmp_path: Path) -> None:
    """The generated C is the same, and a function of the library has changed."""
    sides = []
    for name, body in (("before", "return x;"), ("after", "return x * x + 3;")):
        tree = tmp_path / name
        (tree / "include").mkdir(parents=True)
        (tree / "src").mkdir()
        (tree / "include" / "kernel.h").write_text(f"static inline int f(int x) {{ {body} }}\n")
        texts = {
            "net.c": '#include "kernel.h"\nint net_infer_int8(int x) {\n    return f(x);\n}\n'
            "int same(void) {\n    return 1;\n}\n",
            store.REPORT: report(),
        }
        sides.append(diff.Side({OTHER: texts}, tree))
    lines: list[str] = []
    changes = diff.compare(*sides, tmp_path / "objects", say=lines.append, diff=False)
    assert lines[0] == "Generated files: empty diff"
    assert {change.function for change in changes} == {"net_infer_int8", diff.SUM}
    assert any(change.what == "code" and change.worse for change in changes)
    lines.clear()
    assert diff.compare(sides[0], sides[0], tmp_path, say=lines.append, diff=False) == []
    assert lines == ["Generated files: empty diff", "Code, stack, cycles, RAM: empty diff"]


@pytest.mark.usefixtures("arm_tools")
@pytest.mark.parametrize("cpu", ["m0plus", "m4", "generic"])
def test_an_inference_has_cycles_and_a_stack(cpu: str, tmp_path: Path) -> None:
    (tmp_path / "include").mkdir()
    texts = {
        "net.h": "int net_infer_int8(volatile int *x);\n",
        "net.c": '#include "net.h"\nint net_infer_int8(volatile int *x) {\n'
        "    volatile int copies[4] = {*x, *x, *x, *x};\n    return copies[3];\n}\n",
    }
    source = measure.write_sources(Case("net", cpu, "size"), texts, tmp_path / "net", tmp_path)
    alone = measure.compiled(source, tmp_path / "objects")
    timed = measure.with_inference(alone, source, tmp_path / "objects")
    assert (alone.cycles, alone.stack_bytes) == (None, None)
    function = timed.functions["net_infer_int8"]
    assert 10 < function.cycles <= timed.cycles
    assert function.stack_bytes >= 16 and timed.stack_bytes is not None
