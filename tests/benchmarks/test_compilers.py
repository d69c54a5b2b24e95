"""The checks of benchmarks/compilers.py: the strictest of each kind with the PC's compilers."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from golden import store
from golden.cases import Case

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import compilers

NETWORKS = ("lenet", "towers")  # those of the golden files that have golden vectors


def host(name: str) -> compilers.Compiler:
    if not shutil.which(name):
        pytest.skip(f"no {name}")
    cpp = {"gcc": "g++", "clang": "clang++"}[name]
    return compilers.Compiler(name, (name,), (cpp,), (cpp,))


@pytest.fixture(scope="module")
def texts() -> Mapping[str, str]:
    golden = store.read()
    cases = [Case(name, "generic", "balanced") for name in NETWORKS]
    return {name: text for case in cases for name, text in golden[case].items()}


@pytest.mark.parametrize(
    ("compiler", "option"),
    [
        ("gcc", "c99, c++11"),
        ("gcc", "c2x, c++20"),
        ("gcc", "-flto"),
        ("clang", "c99, c++11"),
        ("clang", "-ffast-math"),
    ],
)
def test_no_compiler_warns_and_the_program_gives_the_golden_scores(
    compiler: str, option: str, texts: Mapping[str, str], tmp_path: Path
) -> None:
    sources = compilers.write_program(texts, tmp_path)
    assert compilers.check(host(compiler), option, sources).why == ""


def test_a_warning_fails_with_the_line(texts: Mapping[str, str], tmp_path: Path) -> None:
    sources = compilers.write_program(texts, tmp_path)
    (tmp_path / "lenet.c").write_text(texts["lenet.c"] + "int unused(int x);\nint f(void);\n")
    with (tmp_path / "lenet.c").open("a") as file:
        file.write("int f(void) { char c = 300 * unused(1); return c; }\n")
    found = compilers.check(host("gcc"), "-O0", sources)
    assert found.result == compilers.FAILED
    assert found.why.startswith("lenet.c:")
    assert "-Werror" in found.why


def test_scores_that_differ_fail(texts: Mapping[str, str], tmp_path: Path) -> None:
    score = r"(golden_scores\[[^]]*\] = \{\s*)(-?\d+)"
    other = re.sub(score, lambda found: f"{found[1]}{int(found[2]) ^ 1}", texts["lenet.c"])
    changed = {**texts, "lenet.c": other}
    assert changed != texts
    found = compilers.check(host("gcc"), "-O0", compilers.write_program(changed, tmp_path))
    assert found.result == compilers.FAILED
    assert "self test" in found.why


def test_an_unknown_flag_is_not_counted(texts: Mapping[str, str], tmp_path: Path) -> None:
    sources = compilers.write_program(texts, tmp_path)
    assert compilers.check(host("gcc"), "-fno-such-flag", sources).result == compilers.UNKNOWN


def test_the_page_is_the_one_of_the_stored_checks() -> None:
    stored = [compilers.Check(**row) for row in json.loads(compilers.RESULTS.read_text())]
    assert compilers.page_of(stored) in compilers.PAGE.read_text()
    assert not [check for check in stored if check.result == compilers.FAILED]
    assert {check.option for check in stored} == set(compilers.options())
    assert {check.cpu for check in stored} >= {"host", "cortex-m0plus", "cortex-m4", "cortex-m55"}
