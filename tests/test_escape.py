"""1,000 hostile texts in every place that shows texts of files; a name is never code."""

from __future__ import annotations

import html.parser
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import c_runner
import numpy as np
import pytest
import torch
from deepcompress import escape
from deepcompress.backend.atomic_write import atomic_write
from deepcompress.backend.emit_c import Provenance, _environment, emit_c
from deepcompress.backend.plan import Plan
from deepcompress.cli.main import main
from deepcompress.compile import compile_model
from deepcompress.data.calibration import Calibration
from deepcompress.data.labels import read_labels
from deepcompress.errors import UserError, draw, draw_warnings
from deepcompress.ir.graph import Graph, Node, Tensor
from deepcompress.ir.text import text as ir_text
from deepcompress.ops.lookup import Lookup
from deepcompress.options import SPELLINGS, Options, Target
from deepcompress.pipeline.graph_to_plan import graph_to_plan
from deepcompress.report.html import html as html_report
from deepcompress.report.summary import summarize, table
from hostile.names import TEXTS, texts
from hypothesis import given
from hypothesis import strategies as st
from model_files import change_program
from model_graphs import NOWHERE
from torch import nn

EVERY = texts(1000)
LAYERS = 10  # of a model
# Ends a comment and prints when the program starts. Exported programs split names at "." ";" ",".
INJECTED = """*/
__attribute__((constructor)) static void injected(void) { if (__builtin_printf("pwned")) {} }
/*"""
ANY_TEXT = st.text(st.characters(), max_size=60) | st.sampled_from(TEXTS)
INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def graph_of(names: list[str]) -> tuple[Graph, Calibration]:
    """A chain of lookup tables, layers of the fewest lines of C."""
    tensors = {f"t{i}": Tensor(f"t{i}", (2,)) for i in range(len(names) + 1)}
    nodes = tuple(
        Node(name, "lookup", (f"t{i}",), f"t{i + 1}", Lookup("tanh"), {})
        for i, name in enumerate(names)
    )
    data = Calibration(np.array([[-1, 1], [0.5, 0.25]], np.float32))
    return Graph("net", tensors, nodes, ("t0",), (f"t{len(names)}",)), data


def plan_of(names: list[str]) -> Plan:
    graph, data = graph_of(names)
    return graph_to_plan(graph, data, Options())[1]


@pytest.fixture(scope="module")
def plans() -> list[Plan]:
    """Models m0, m1, ... whose layers have the hostile names, ten each."""
    plain = plan_of([str(i) for i in range(LAYERS)])
    return [
        renamed(plain, f"m{i // LAYERS}", EVERY[i : i + LAYERS])
        for i in range(0, len(EVERY), LAYERS)
    ]


def renamed(plan: Plan, model: str, names: list[str]) -> Plan:
    """The plan with other names of the model and of its layers."""
    new = {step.node.name: name for step, name in zip(plan.steps, names, strict=True)}

    def node(old: object) -> object:
        return replace(old, name=new[old.name])

    integer = replace(plan.integer, name=model, nodes=tuple(map(node, plan.integer.nodes)))
    selections = {
        new[name]: replace(
            selection, layer=replace(selection.layer, node=node(selection.layer.node))
        )
        for name, selection in plan.selected.selections.items()
    }
    selected = replace(plan.selected, integer=integer, selections=selections)
    steps = tuple(replace(step, selection=selections[new[step.node.name]]) for step in plan.steps)
    return replace(plan, selected=selected, steps=steps)


def without_comments(code: str) -> str:
    """C without comments and the id of the build: the same for all names of layers."""
    code = re.sub(r"(_BUILD_ID\W+)0x[0-9a-f]{8}", r"\1", code)
    code = re.sub(r"/\*.*?\*/", "", code, flags=re.DOTALL)
    return re.sub(r"\s+", " ", code)


def test_texts_in_generated_c_are_comments_and_labels_only(
    plans: list[Plan], tmp_path: Path
) -> None:
    """Two programs with all models: every warning is an error; the labels are what they were."""
    labels = [text.replace("\0", "") for text in EVERY]
    for i, plan in enumerate(plans):
        some = EVERY[i * LAYERS : (i + 1) * LAYERS]
        origin = Provenance(source=some[0], sha256="0", options=tuple(some))
        files = emit_c(plan, provenance=origin, labels=tuple(labels[i * LAYERS : (i + 1) * LAYERS]))
        for name, text in files.items():
            assert text.isascii() and not re.search(r"[^ -~\n]", text), name
            comments = re.findall(r"/\*.*?\*/", without_strings(text), re.DOTALL)
            assert not any("//" in c or "/*" in c[2:] or "\\" in c or "??" in c for c in comments)
            assert max(len(line) for comment in comments for line in comment.split("\n")) < 260
            assert "system(" not in without_strings(without_comments(text)), name
        atomic_write(files, tmp_path)
    sources = "".join(f'#include "m{i}.c"\n' for i in range(len(plans)))
    (tmp_path / "main.c").write_text(f"{sources}#include <stdio.h>\n{printing_main(len(plans))}")
    headers = "".join(f'#include "m{i}.hpp"\n' for i in range(len(plans)))
    (tmp_path / "main.cpp").write_text(f"{headers}int main() {{ return 0; }}\n")
    library = c_runner.ROOT / "src" / "deepcompress.c"
    both = (f"-I{tmp_path}", f"-I{c_runner.INCLUDE}")
    no_long = "-Wno-overlength-strings"  # labels.py refuses labels of more than 255 bytes
    built = tmp_path / "program"
    run(["gcc", *c_runner.WARNINGS, no_long, *both, tmp_path / "main.c", library, "-o", built])
    run(
        [
            "g++",
            "-std=c++11",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-fsyntax-only",
            *both,
            tmp_path / "main.cpp",
        ]
    )
    printed = subprocess.run([built], capture_output=True, check=True, cwd=tmp_path).stdout
    expected = [re.sub("[\ud800-\udfff]", "\ufffd", label).encode() for label in labels]
    assert printed.split(b"\0")[:-1] == expected
    assert not (tmp_path / "pwned").exists()


def without_strings(code: str) -> str:
    return re.sub(r'"(\\.|[^"\\])*"', '""', code)


def printing_main(models: int) -> str:
    """A program that prints all labels, each followed by a zero byte."""
    calls = "".join(
        f"    for (int i = 0; i < {LAYERS}; ++i) {{ fputs(m{m}_label(i), stdout); putchar(0); }}\n"
        for m in range(models)
    )
    return f"int main(void) {{\n{calls}    return 0;\n}}\n"


def run(command: list[object]) -> None:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:3000]


def test_the_code_does_not_depend_on_the_names_in_comments() -> None:
    """The names here give the same identifiers as the plain ones."""
    plain = plan_of([f"a{'_' * i}" for i in range(1, 4)])
    hostile = renamed(plain, "net", ["a/", "a*/", "a\n??"])
    for name, text in emit_c(plain, provenance=NOWHERE).items():
        other = emit_c(hostile, provenance=NOWHERE)[name]
        assert without_comments(other) == without_comments(text)


def test_a_template_cannot_write_a_text_as_it_is() -> None:
    """Also an expression without a filter is escaped, in comments as in code."""
    template = _environment().from_string("/* {{ text }} */ {{ 'a' ~ text }} {{ [text] | join }}")
    for text in EVERY:
        written = template.render(text=text)
        assert written.isascii() and written.isprintable()
        assert written.count("*/") == written.count("/*") == 1 and "//" not in written
        assert not re.search(r'["\\]|\?\?', written)


@given(ANY_TEXT)
def test_a_comment_is_printable_ascii_that_ends_where_it_should(text: str) -> None:
    written = escape.comment(text)
    assert written.isascii() and written.isprintable() and len(written) <= 80
    assert not re.search(r'/\*|\*/|//|\?\?|["\\]', f" {written} ")
    assert not re.search(r"^[*/]|[*/]$", written)


def test_a_plain_name_is_a_comment_as_it_is() -> None:
    for name in ("features.0.conv", "0", "a-b (c) [d] {e} <f> 'g' 100%", "layer?", "2 ** 3", "a/b"):
        assert escape.comment(name) == name
    assert escape.comment("x" * 81) == "x" * 77 + "..."


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_a_string_literal_has_the_bytes_of_the_text(text: str) -> None:
    literal = escape.c_string(text)
    assert literal.isascii() and literal.isprintable() and "?" not in literal
    octal = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), literal[1:-1])
    assert octal.encode("latin-1").decode() == text


@given(ANY_TEXT)
def test_a_line_of_a_terminal_has_visible_characters_only(text: str) -> None:
    assert not INVISIBLE.search(escape.visible(text))
    assert not INVISIBLE.search(escape.screen(text).replace("\n", ""))
    assert escape.screen(text).count("\n") == text.count("\n")
    assert len(escape.name(text)) <= 10 * 80


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8", "utf-16"])
def test_a_stream_of_any_encoding_takes_all_texts(encoding: str) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    for text in EVERY:
        print(text, file=escape.Terminal(stream), flush=True)
    written = stream.buffer.getvalue().decode(encoding)
    assert not INVISIBLE.search(written.replace("\n", "").replace("\ufeff", ""))


def test_readable_texts_of_all_scripts_are_shown_as_they_are() -> None:
    for text in ("été", "日本語", "модель", "a b\u00a0c", "😀", "100 % × 2"):
        assert escape.visible(text) == text
    assert escape.visible("\x1b[31m\u202e\n\ud800") == r"\x1b[31m\u202e\n\ud800"


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_errors_and_warnings_are_one_paragraph_of_visible_characters(spelling: str) -> None:
    for text in EVERY:
        error = UserError(f"it holds {text}", f"layer {text}", f"Remove {text}, or do not")
        paragraph = error.paragraph(SPELLINGS[spelling])
        assert not INVISIBLE.search(paragraph) and len(paragraph) < 20_000
        assert not INVISIBLE.search(draw(error).replace("\n", ""))
        assert not INVISIBLE.search("".join(draw_warnings([text])).replace("\n", ""))


def test_a_long_name_does_not_hide_what_to_do() -> None:
    error = UserError("x" * 100_000, "layer " + "y" * 100_000, "Rename it")
    assert str(error).endswith("x.... Rename it.") and len(str(error)) < 3000


def test_tables_texts_of_passes_and_reports_show_names_on_one_line(plans: list[Plan]) -> None:
    for plan in plans:
        facts = summarize(plan, source="\x1b*/\n.pt", target=Target(), accuracy=None)
        screen = table(facts)
        assert not INVISIBLE.search(screen.replace("\n", ""))
        assert max(map(len, screen.split("\n"))) < 1200
        assert screen.count("\n") == table(plain_report()).count("\n")
        dumped = ir_text(plan)
        dumped.encode()
        assert not INVISIBLE.search(dumped.replace("\n", ""))
        assert dumped.count("\n") == LAYERS + 4
        written = escape.json_text(facts)
        assert written.isascii()
        json.dumps(json.loads(written), ensure_ascii=False).encode()


def plain_report() -> dict:
    plan = plan_of([str(i) for i in range(LAYERS)])
    return summarize(plan, source="net.pt", target=Target(), accuracy=None)


class Tags(html.parser.HTMLParser):
    """The tags of a page with the names of their attributes, and its texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.tags.append(f"{tag} {' '.join(name for name, _ in attributes)}")

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_html_report_has_the_same_tags_whatever_the_names(plans: list[Plan]) -> None:
    expected = Tags(html_report(plain_report())).tags
    for plan in plans:
        facts = summarize(plan, source=EVERY[0], target=Target(), accuracy=None)
        page = html_report(facts)
        page.encode()
        assert not INVISIBLE.search(page.replace("\n", ""))
        assert Tags(page).tags == expected
        assert all(float(size) >= 0 for size in re.findall(r' (?:x|width)="([^"]*)"', page))
        assert len(page) < 100_000


def test_a_path_in_a_make_rule_is_one_word() -> None:
    assert escape.make_path("a b/$c#d") == r"a\ b/$$c\#d"
    with pytest.raises(ValueError, match="line break"):
        escape.make_path("a\nb")


@pytest.mark.parametrize("label", ["\x1b[31m", "a\x00b", "\ud800", "x" * 256, "日" * 86])
def test_a_label_that_cannot_be_printed_is_refused(label: str) -> None:
    with pytest.raises(UserError, match="label 2, ") as caught:
        read_labels(Options(labels=("cat", label)))
    assert str(caught.value).isprintable()


def test_a_byte_order_mark_is_no_part_of_the_first_label(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes("\ufeffcat\nchat à\n".encode())
    assert read_labels(Options(labels=str(tmp_path / "labels.txt"))) == ("cat", "chat à")


# --- files whose names are code


def pickled_module(path: Path) -> None:
    """A module whose layers have hostile names, as only a changed pickle has."""
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    net._modules = {INJECTED + str(i): layer for i, layer in enumerate(net._modules.values())}
    torch.save(net, path)


def exported_program(path: Path) -> None:
    """An exported program with the names of its modules changed."""
    net = nn.Sequential(nn.Linear(2, 3), nn.Sigmoid(), nn.Linear(3, 2)).eval()
    torch.export.save(torch.export.export(net, (torch.zeros(1, 2),)), path)

    def change(program: dict) -> None:
        for node in program["graph_module"]["graph"]["nodes"]:
            if "nn_module_stack" in node["metadata"]:
                stack = node["metadata"]["nn_module_stack"]
                *above, last = stack.split(";")
                key, _, kind = last.split(",")
                node["metadata"]["nn_module_stack"] = ";".join([*above, f"{key},{INJECTED},{kind}"])

    change_program(path, change)


FILES: dict[str, Callable[[Path], None]] = {
    "pickled.pt": pickled_module,
    "exported.pt2": exported_program,
}


@pytest.mark.parametrize("name", FILES)
def test_a_name_in_a_model_file_is_not_compiled(name: str, tmp_path: Path) -> None:
    FILES[name](tmp_path / name)
    options = Options(input_shape=(2,))
    made = compile_model(tmp_path / name, name="net", options=options)
    names = [layer["name"] for layer in made.report["layers"]]
    assert any(INJECTED in layer for layer in names), names
    sources = {file: text for file, text in made.texts.items() if not file.startswith("report")}
    program = c_runner.build(sources, name="net", folder=tmp_path, flags=())
    assert subprocess.run([program], input=b"", capture_output=True, check=True).stdout == b""
    for file, text in sources.items():
        assert "injected(void)" not in without_comments(text), file


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_commands_show_hostile_names_on_a_terminal_of_any_encoding(
    encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["日本\x1b[31m", "\u202eb", "a\nb", "\ud800", "x" * 1000]
    net = nn.Sequential(*(nn.Linear(2, 2) for _ in names))
    net._modules = dict(zip(names, net._modules.values(), strict=True))
    torch.save(net, tmp_path / "net.pt")
    for command in (["check"], ["compile", "-o", str(tmp_path / "out")]):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            given = ["--input-shape=2", "--dump-ir", str(tmp_path / "ir"), str(tmp_path / "net.pt")]
            assert main([*command, *given]) == 0
        stream.flush()
        screen = stream.buffer.getvalue().decode(encoding)
        assert r"\u202eb" in screen and r"a\nb" in screen and r"\x1b[31m" in screen
        assert not INVISIBLE.search(screen.replace("\n", ""))
        assert max(map(len, screen.split("\n"))) < 300


def test_a_traceback_is_escaped_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("\x1b[2J\u202e")

    monkeypatch.setattr("deepcompress.cli.command.parse", fails)
    assert main(["check", "-v", str(tmp_path / "net.pt")]) == 2
    assert not INVISIBLE.search(capsys.readouterr().err.replace("\n", ""))
