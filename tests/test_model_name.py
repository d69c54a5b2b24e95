"""Each name of tests/support/hostile/names.py builds and runs, or is refused in one paragraph."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import c_runner
import numpy as np
import pytest
import torch
from deepcompress.backend.atomic_write import atomic_write
from deepcompress.backend.c_names import input_names, layer_names
from deepcompress.backend.emit_c import emit_c
from deepcompress.backend.plan import Plan
from deepcompress.cli.main import main
from deepcompress.data.calibration import Calibration
from deepcompress.errors import UserError
from deepcompress.ir.graph import Graph, Node, Tensor
from deepcompress.model_name import HEADERS, check_name, class_name, name_of_file
from deepcompress.ops.linear import Linear
from deepcompress.options import Options, Target
from deepcompress.pipeline.graph_to_plan import graph_to_plan
from deepcompress.report.summary import summarize
from hostile.names import FUNCTION_MACROS, NAMES, OBJECT_MACROS, platform_header
from model_graphs import NOWHERE
from torch import nn

EVERY = [name for group in NAMES.values() for name in group]
CPP = ("g++", "-std=c++11", "-pedantic", "-Wall", "-Wextra", "-Werror")


def test_the_list_has_at_least_300_names_of_each_group_some() -> None:
    assert len(set(EVERY)) == len(EVERY) >= 300


@pytest.fixture(scope="module")
def plan() -> Plan:
    """One linear layer with two inputs and three outputs."""
    random = np.random.default_rng(0)
    weight = random.standard_normal((3, 2)).astype(np.float32)
    node = Node(
        "fc", "linear", ("x",), "y", Linear(2, 3), {"weight": weight, "bias": np.zeros(3, "f4")}
    )
    graph = Graph("net", {"x": Tensor("x", (2,)), "y": Tensor("y", (3,))}, (node,), ("x",), ("y",))
    data = Calibration(random.standard_normal((4, 2)).astype(np.float32))
    return graph_to_plan(graph, data, Options())[1]


def named(plan: Plan, name: str) -> Plan:
    integer = replace(plan.integer, name=name)
    return replace(plan, selected=replace(plan.selected, integer=integer))


def accepted() -> list[str]:
    """The model names of those files of the list that are not refused."""
    names = {}
    for file in EVERY:
        try:
            names[name_of_file(file)] = None
        except UserError:
            continue
    return list(names)


@pytest.mark.parametrize("group", NAMES)
def test_a_name_is_an_identifier_or_refused_in_one_paragraph_that_helps(group: str) -> None:
    for file in NAMES[group]:
        try:
            name = name_of_file(file)
        except UserError as error:
            text = str(error)
            assert text.isprintable() and "cannot be a name in C" in text, text
            assert "--name net" in text and "custom_deepcompress_model = net = file.pt" in text
            assert len(text) < 700
        else:
            assert name.isidentifier() and name.isascii() and not name.startswith("_")
            assert class_name(name)[0].isupper()
            check_name(name)


REFUSED = {
    "NULL": "NULL, its class in C++, is a macro",
    "A0": "is a macro",
    "日本": "it contains '日', which is no Latin letter",
    "ß": "which is no Latin letter",
    "string": "its header would hide another one, string.h",
    "Arduino": "its header would hide another one",
    "STDINT": "its header would hide another one",
    "main": "its header would hide another one",
    "int": "it is a keyword",
    "template": "it is a keyword",
    "CON": "Windows reserves it",
    "dc_status": "the library uses names that begin like it",
    "DeepCompressModels": "the library uses names that begin like it",
    "in": "the class would be named In",
    "n" * 65: "more than 64 characters",
    "--": "nothing is left of it",
}


@pytest.mark.parametrize("file", REFUSED)
def test_a_refusal_states_its_reason(file: str) -> None:
    with pytest.raises(UserError, match=REFUSED[file].replace("+", r"\+")):
        name_of_file(file)


KEPT = {
    "model": "model",
    "result": "result",
    "model_in": "model_in",
    "été": "ete",
    "Ångström": "Angstrom",
    "my-café (2)": "my_cafe__2",
    "2fast": "model_2fast",
    "__x__": "x",
    "ＡＢ²": "AB2",
}


@pytest.mark.parametrize("file", KEPT)
def test_accents_are_removed_and_other_characters_replaced(file: str) -> None:
    assert name_of_file(file) == KEPT[file]


@pytest.mark.parametrize("name", ["_x", "_", "a b", "été", "1a", "a\n", ""])
def test_a_name_that_the_user_gives_is_not_changed(name: str) -> None:
    with pytest.raises(UserError, match="cannot be a name in C"):
        check_name(name)


def test_every_header_of_the_compilers_is_known() -> None:
    """A generated NAME.h precedes system headers, so it must not be named like one."""
    folders = [
        path
        for compiler in ("gcc", "arm-none-eabi-gcc")
        for path in include_folders(compiler)
        if "arm-none-eabi" in str(path) or "lib/gcc" in str(path)
    ]
    stems = {path.stem for folder in folders for path in folder.glob("*.h")}
    assert len(stems) > 20
    for stem in sorted(stems):
        if stem.isidentifier() and not stem.startswith("_"):
            with pytest.raises(UserError):
                check_name(stem)
    assert all(header == header.lower() for header in HEADERS)


def include_folders(compiler: str) -> list[Path]:
    command = [compiler, "-E", "-v", "-x", "c", "/dev/null"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    found = text.partition("<...> search starts here:")[2].partition("End of search list")[0]
    return [Path(word) for word in found.split()]


def batches(names: list[str]) -> list[list[str]]:
    """The names in groups of which each may be in one project: see `ini.read_models`."""
    groups: list[dict[str, str]] = []
    for name in names:
        folded = name.replace("_", "").lower()
        group = next((group for group in groups if folded not in group), None)
        if group is None:
            group = {}
            groups.append(group)
        group[folded] = name
    return [list(group.values()) for group in groups]


BATCHES = batches(accepted())


@pytest.mark.parametrize("number", range(len(BATCHES)))
def test_every_accepted_name_builds_and_runs_with_macros_before_and_after(
    number: int, plan: Plan, tmp_path: Path
) -> None:
    """All models of a batch in one program of C and one of C++, each with both orders."""
    names = BATCHES[number]
    for name in names:
        atomic_write(emit_c(named(plan, name), provenance=NOWHERE), tmp_path)
    (tmp_path / "platform.h").write_text(platform_header())
    platform = '#include "platform.h"\n'
    sources = "".join(f'#include "{name}.c"\n' for name in names)
    models = compiled(c_compiler(), tmp_path, "models.c", platform + sources, "-c")
    for language, command in {"c": c_compiler(), "cpp": CPP}.items():
        headers, calls = program(names, language)
        for order, included in {"before": platform + headers, "after": headers + platform}.items():
            text = f"{included}int main(void) {{\n{calls}    return 0;\n}}\n"
            built = compiled(
                command, tmp_path, f"{order}.{language}", text, models, library(tmp_path)
            )
            assert subprocess.run([built]).returncode == 0


def program(names: list[str], language: str) -> tuple[str, str]:
    """The includes, and the statements that run each model."""
    if language == "c":
        headers = "".join(f'#include "{name}.h"\n' for name in names)
        return headers, "".join(
            f"    {{\n        static {name}_arena arena;\n"
            "        const float x[2] = {1.0f, 0.5f};\n"
            f"        const int8_t *scores = {name}_infer_float(&arena, x);\n"
            f"        if ({name}_argmax(scores) >= {name.upper()}_OUTPUT_SIZE)\n"
            "            return 1;\n    }\n"
            for name in names
        )
    usable = [name for name in names if class_name(name) not in FUNCTION_MACROS]
    headers = "".join(f'#include "{name}.hpp"\n' for name in usable)
    return headers, "".join(
        f"    {{\n        DeepCompress::{class_name(name)} model;\n"
        "        const float x[2] = {1.0f, 0.5f};\n"
        "        if (model.infer(x).index() >= 3 || model.infer(x).size() != 3)\n"
        "            return 1;\n    }\n"
        for name in usable
    )


def c_compiler() -> tuple[str, ...]:
    return ("gcc", *c_runner.WARNINGS)


def library(folder: Path) -> Path:
    """The object of the library's own C."""
    built = folder / "library.o"
    if not built.exists():
        source = c_runner.ROOT / "src" / "deepcompress.c"
        subprocess.run(["gcc", f"-I{c_runner.INCLUDE}", "-c", source, "-o", built], check=True)
    return built


def compiled(command: tuple[str, ...], folder: Path, name: str, text: str, *more: object) -> Path:
    source, built = folder / name, folder / f"{name}.built"
    source.write_text(text)
    includes = [f"-I{folder}", f"-I{c_runner.INCLUDE}"]
    arguments = [*command, *includes, source, *map(str, more), "-o", built]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:4000]
    return built


def test_no_accepted_name_has_the_class_of_a_macro_without_arguments() -> None:
    assert not {class_name(name) for name in accepted()} & set(OBJECT_MACROS)


def test_the_class_of_an_unknown_macro_is_an_error_that_helps(plan: Plan, tmp_path: Path) -> None:
    """Which macros a framework defines is known only when C++ is compiled."""
    names = ["BIT", "ZORK"]
    for name in names:
        atomic_write(emit_c(named(plan, name), provenance=NOWHERE), tmp_path)
    text = "#define BIT(n) (1 << (n))\n#define ZORK 7\n" + "".join(
        f'#include "{name}.hpp"\n' for name in names
    )
    (tmp_path / "a.cpp").write_text(text)
    command = [*CPP, "-fsyntax-only", f"-I{c_runner.INCLUDE}", tmp_path / "a.cpp"]
    errors = subprocess.run(command, capture_output=True, text=True).stderr
    for name in names:
        assert f"{name} is a macro here, so it cannot be the class of a model" in errors
    assert "custom_deepcompress_model = net = file.pt" in errors


def test_using_the_namespace_does_not_make_a_class_ambiguous(plan: Plan, tmp_path: Path) -> None:
    for name in ("model", "model_in", "result"):
        atomic_write(emit_c(named(plan, name), provenance=NOWHERE), tmp_path)
    text = (
        '#include "model.hpp"\n#include "model_in.hpp"\n#include "result.hpp"\n'
        "using namespace DeepCompress;\nModel model;\nModelIn other;\nResult last;\n"
        "Model::In::Arena arena;\nModel::In in(arena);\n"
        "int f(const float *x) { Model::Result found = in.infer(x); return found.index(); }\n"
    )
    (tmp_path / "a.cpp").write_text(text)
    command = [*CPP, "-fsyntax-only", f"-I{c_runner.INCLUDE}", tmp_path / "a.cpp"]
    assert subprocess.run(command, capture_output=True, text=True).stderr == ""


LAYERS = """
    infer_int8 infer_float arena argmax label reset quantize dequantize self_test output0 fc a.b
    a_b a_b_ a_bias a_values a_multiplier a t C MAX golden_inputs golden_scores memory init main
    int
"""


@pytest.mark.parametrize("model", ["net", "int8", "INT8", "str", "golden"])
def test_names_of_layers_clash_neither_with_functions_of_the_model_nor_with_each_other(
    model: str, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    layers = [*LAYERS.split(), "x" * 100, "x" * 101, "日本", "網路", "0", "layer_0", ""]
    tensors = {f"t{i}": Tensor(f"t{i}", (2,)) for i in range(len(layers) + 1)}
    nodes = tuple(
        Node(
            layer,
            "linear",
            (f"t{i}",),
            f"t{i + 1}",
            Linear(2, 2),
            {"weight": random.standard_normal((2, 2)).astype("f4"), "bias": np.ones(2, "f4")},
        )
        for i, layer in enumerate(layers)
    )
    graph = Graph(model, tensors, nodes, ("t0",), (f"t{len(layers)}",))
    data = Calibration(random.standard_normal((4, 2)).astype(np.float32))
    _, plan = graph_to_plan(graph, data, Options())
    facts = summarize(plan, source="net.pt", target=Target(), accuracy=None)
    functions = [layer["function"] for layer in facts["layers"]]
    assert len(set(functions)) == len(layers)
    golden = np.zeros((1, 2), np.int8)
    texts = emit_c(plan, provenance=NOWHERE, golden_inputs=golden)
    for function in functions:
        assert len(re.findall(rf"^DC_LAYER.*\b{function}\(", texts[f"{model}.c"], re.M)) == 1
    c_runner.build(texts, name=model, folder=tmp_path, flags=())


def test_inputs_whose_names_differ_in_case_only_have_different_sizes() -> None:
    assert input_names(("x", "X", "a.b", "a_b")) == [
        "input_x",
        "input_X_",
        "input_a_b",
        "input_a_b_",
    ]


def test_what_a_header_declares_is_no_name_of_a_layer(plan: Plan) -> None:
    """Whoever adds a function to the generated C has to keep it from being the name of a layer."""
    texts = emit_c(plan, provenance=NOWHERE, golden_inputs=np.zeros((1, 2), np.int8))
    found = set(re.findall(r"\bnet_(\w+)", texts["net.h"] + texts["net.c"]))
    declared = {word for word in found if not re.match(r"(fc|weights)(_|$)", word)}
    assert {"infer_int8", "arena", "label", "self_test"} <= declared
    named = layer_names(dict.fromkeys(declared, ()), model="net")
    assert not set(named.values()) & declared


@pytest.mark.parametrize("command", ["compile", "ini", "zephyr"])
def test_a_name_is_refused_before_torch_is_loaded(command: str, tmp_path: Path) -> None:
    (tmp_path / "string.pt").write_bytes(b"")
    programs = {
        "compile": "from deepcompress.cli.main import main\n"
        f"code = main(['compile', {str(tmp_path / 'string.pt')!r}, '-o', {str(tmp_path)!r}])",
        "ini": "from deepcompress.build.ini import read_models\n"
        "from deepcompress.errors import UserError, draw\n"
        "try: read_models({'custom_deepcompress_model': 'string.pt'}, where='ini')\n"
        "except UserError as error: code = 1; print(draw(error), file=sys.stderr)",
        "zephyr": f"sys.path.insert(0, {str(c_runner.ROOT / 'zephyr')!r})\n"
        f"sys.argv = ['x', '--folder', {str(tmp_path)!r}, '--output', {str(tmp_path / 'o')!r}, "
        f"'--store', {str(tmp_path / 's')!r}, '--cpu', 'cortex-m4', 'string', 'string.pt']\n"
        "import generate\ncode = generate.main()",
    }
    check = "\nprint(code, 'torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{programs[command]}{check}"],
        capture_output=True,
        text=True,
    )
    assert done.stdout == "1 False False\n", done.stderr
    assert "would hide another one, string.h" in " ".join(done.stderr.split())


def test_a_model_of_an_accented_file_is_compiled_under_its_plain_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = nn.Sequential(nn.Linear(2, 2))
    torch.save(net, tmp_path / "été.pt")
    arguments = [str(tmp_path / "été.pt"), "-o", str(tmp_path / "out"), "--input-shape", "2"]
    assert main(["compile", *arguments]) == 0
    assert "DeepCompress::Ete" in capsys.readouterr().out
    assert (tmp_path / "out" / "ete.h").is_file()
