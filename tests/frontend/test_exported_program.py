"""Exported programs open without running code from them; what torch does not need is not read."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from deepcompress.errors import UserError
from deepcompress.frontend import exported_program
from deepcompress.frontend.open_graph import open_graph
from deepcompress.options import Options
from model_files import (
    SAVERS,
    SHAPE,
    Touches,
    add_member,
    assert_same_function,
    change_program,
    example,
    pickled_touch,
    replace_member,
)
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm


@pytest.mark.parametrize("batch", [torch.export.Dim("batch"), torch.export.Dim.AUTO])
def test_a_dynamic_batch_opens(batch: object, net: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    program = torch.export.export(
        net, (torch.zeros(2, *SHAPE),), dynamic_shapes=({0: batch},), strict=False
    )
    torch.export.save(program, path)
    assert assert_same_function(path, Options(), net, 1e-5) == ["conv", "fc"]


def test_a_fixed_batch_of_several_is_refused(net: nn.Module, tmp_path: Path) -> None:
    torch.export.save(torch.export.export(net, (torch.zeros(4, *SHAPE),)), tmp_path / "model.pt")
    with pytest.raises(UserError, match="exported for batches of 4"):
        open_graph(tmp_path / "model.pt", Options(), name="net")


@pytest.mark.parametrize("norm", [weight_norm, spectral_norm])
def test_parametrized_weights_are_computed(norm: Callable, net: nn.Module, tmp_path: Path) -> None:
    module = copy.deepcopy(net)
    norm(module.fc)
    SAVERS["exported program"](module.eval(), tmp_path / "model.pt")
    assert_same_function(tmp_path / "model.pt", Options(), module, 1e-5)


FOREIGN = {
    "export.access_subclass_inner_tensor": r"torchao's quantize_\(\).*prepare_pt2e",
    "torchao.quantize_affine": r"torchao's quantize_\(\).*prepare_pt2e",
    "mine.fast_conv": r"calls mine\.fast_conv, an operator of another library.*torch's own",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_operators_of_other_libraries_are_refused_with_what_to_do(
    name: str, net: nn.Module, tmp_path: Path
) -> None:
    path = tmp_path / "model.pt"
    SAVERS["exported program"](net, path)

    def change(program: dict) -> None:
        program["graph_module"]["graph"]["nodes"][0]["target"] = f"torch.ops.{name}.default"

    change_program(path, change)
    with pytest.raises(UserError, match=FOREIGN[name]):
        open_graph(path, Options(), name="net")


def rename_everywhere(path: Path, old: str, new: str) -> None:
    def rename(value: object) -> object:
        if isinstance(value, list):
            return [rename(part) for part in value]
        if isinstance(value, dict):
            return {rename(key): rename(part) for key, part in value.items()}
        return new if value == old else value

    change_program(path, lambda program: program.update(rename(program)))


def name_input_as_code(path: Path, evidence: Path) -> None:
    """torch writes the names of inputs into Python source, where a default is evaluated."""
    rename_everywhere(path, "x", f"x=open({str(evidence)!r}, 'w')")


def name_node_as_code(path: Path, evidence: Path) -> None:
    rename_everywhere(path, "relu", f"relu\nopen({str(evidence)!r}, 'w')")


def hide_code_in_a_size(path: Path, evidence: Path) -> None:
    """Written in octal, so that no word of it is visible; sympy evaluates the decoded text."""
    code = "".join(f"\\{byte:03o}" for byte in f"open({str(evidence)!r}, 'w')".encode())

    def change(program: dict) -> None:
        sizes = program["graph_module"]["graph"]["tensor_values"]["x"]["sizes"]
        sizes[0] = {"as_expr": {"expr_str": f"Max('{code}',1)", "hint": {"as_int": 2}}}

    change_program(path, change)


def name_a_module_in_the_input_structure(path: Path, evidence: Path) -> None:
    """Written with an escape, as JSON allows, so that the word itself is not in the file."""
    (path.parent / "evil_enum.py").write_text(f"open({str(evidence)!r}, 'w')")
    context = json.dumps({"__enum__": True, "fqn": "evil_enum:A", "name": "B"})

    def change(program: dict) -> None:
        for call in program["graph_module"]["module_call_graph"]:
            if call["signature"]:
                version, spec = json.loads(call["signature"]["in_spec"])
                spec["children_spec"][1]["context"] = context.replace("__enum", "\\u005f_enum")
                call["signature"]["in_spec"] = json.dumps((version, spec))

    change_program(path, change)


def call_another_function(path: Path, evidence: Path) -> None:
    """torch finds a call's function by its dotted name, attribute by attribute from torch on."""

    def change(program: dict) -> None:
        program["graph_module"]["graph"]["nodes"][0]["target"] = "torch.os.mkdir"

    change_program(path, change)


def add_an_object(path: Path, evidence: Path, member: str = "opaque_obj_0") -> None:
    entry = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True}
    config = {"config": {"c": {**entry, "tensor_meta": None}}}
    replace_member(path, "constants/model_constants_config.json", json.dumps(config).encode())
    add_member(path, f"data/constants/{member}", pickle.dumps(Touches(evidence)))


EVIL_PROGRAMS: dict[str, Callable[[Path, Path], None]] = {
    "the name of an input": name_input_as_code,
    "the name of a node": name_node_as_code,
    "a size": hide_code_in_a_size,
    "the structure of its inputs": name_a_module_in_the_input_structure,
    "the name of a function": call_another_function,
    "an object": add_an_object,
    "an object in capitals": lambda path, evidence: add_an_object(path, evidence, "OPAQUE_OBJ_0"),
}


@pytest.mark.parametrize("case", EVIL_PROGRAMS)
def test_code_in_an_exported_program_is_not_run(
    case: str, net: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    evidence, path = tmp_path / "evidence", tmp_path / "model.pt"
    SAVERS["exported program"](net, path)
    EVIL_PROGRAMS[case](path, evidence)
    with pytest.raises(UserError, match=r"could run code from the file"):
        open_graph(path, Options(), name="net")
    assert not evidence.exists()


def add_a_library(path: Path, evidence: Path) -> None:
    """A compiled package: torch loads its shared library."""
    source, library = path.with_suffix(".c"), path.with_suffix(".so")
    source.write_text(
        f"#include <stdio.h>\n__attribute__((constructor)) void run(void) "
        f'{{ fclose(fopen("{evidence}", "w")); }}\n'
    )
    subprocess.run(["gcc", "-shared", "-fPIC", source, "-o", library], check=True)
    add_member(path, "data/aotinductor/model/a.wrapper.so", library.read_bytes())
    add_member(
        path, "data/aotinductor/model/a.wrapper_metadata.json", b'{"AOTI_DEVICE_KEY": "cpu"}'
    )


NOT_OPENED: dict[str, Callable[[Path, Path], None]] = {
    "example inputs": lambda path, evidence: replace_member(
        path, "sample_inputs/model.pt", pickled_touch(evidence)
    ),
    "a compiled library": add_a_library,
    "guards": lambda path, evidence: change_program(
        path, lambda program: program.update(guards_code=[f"open({str(evidence)!r}, 'w')"])
    ),
}


@pytest.mark.parametrize("case", NOT_OPENED)
def test_what_an_exported_program_does_not_need_is_not_opened(
    case: str, net: nn.Module, tmp_path: Path
) -> None:
    evidence, path = tmp_path / "evidence", tmp_path / "model.pt"
    SAVERS["exported program"](net, path)
    NOT_OPENED[case](path, evidence)
    program = exported_program.open_program(path, Options())
    torch.testing.assert_close(program.module()(example()), net(example()))
    assert not evidence.exists()


def test_a_pickled_weight_of_an_exported_program_is_not_run(net: nn.Module, tmp_path: Path) -> None:
    evidence, path = tmp_path / "evidence", tmp_path / "model.pt"
    SAVERS["exported program"](net, path)
    entry = {"path_name": "tensor_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
    config = json.dumps({"config": {"c": entry}}).encode()
    replace_member(path, "constants/model_constants_config.json", config)
    add_member(path, "data/constants/tensor_0", pickled_touch(evidence))
    with pytest.raises(UserError, match=r"holds .*getattr, and unpickling that would run code"):
        open_graph(path, Options(), name="net")
    assert not evidence.exists()


def add_a_call(path: Path, target: str, *arguments: dict) -> None:
    """A call without a result, which torch makes if it traces the program again."""
    inputs = [{"name": "", "arg": argument, "kind": 1} for argument in arguments]
    call = {"target": target, "inputs": inputs, "outputs": [], "metadata": {}, "name": "extra"}
    change_program(path, lambda program: program["graph_module"]["graph"]["nodes"].append(call))


CALLED: dict[str, Callable[[Path, Path], None]] = {
    "by the module operator": lambda path, evidence: add_a_call(
        path, "_operator.call", {"as_operator": "torch.os.mkdir"}, {"as_string": str(evidence)}
    ),
    "of a loader": lambda path, evidence: add_a_call(
        path, "_operator.__loader__.set_data", {"as_string": str(evidence)}, {"as_string": ""}
    ),
    "that loads a library": lambda path, evidence: add_a_call(
        path, "torch.ops.load_library", {"as_string": str(evidence)}
    ),
    "that is an argument": lambda path, evidence: add_a_call(
        path, "torch.ops.higher_order.map_impl", {"as_operator": "torch.os.mkdir"}
    ),
    "of a class": lambda path, evidence: add_a_call(
        path, "torch.ops.aten.__class__", {"as_string": str(evidence)}
    ),
}


@pytest.mark.parametrize("case", CALLED)
def test_functions_that_are_no_operators_are_not_called(
    case: str, net: nn.Module, tmp_path: Path
) -> None:
    evidence, path = tmp_path / "evidence", tmp_path / "model.pt"
    # Torch traces a program with this layer again.
    SAVERS["exported program"](nn.Sequential(nn.GroupNorm(1, 1), net), path)
    CALLED[case](path, evidence)
    with pytest.raises(UserError, match=r"it holds the (target|as_operator) .*could run code"):
        open_graph(path, Options(), name="net")
    assert not evidence.exists()


PUBLISHED_NAMES = [
    "Conv 0",
    "left-hand",
    "a/b",
    "a:b",
    "a+b",
    "f(x)",
    "f)",
    "x[0]",
    "été",
    'say "hi"',
]
PUBLISHED_NAMES += [
    "a,b",
    "a;b",
    "it's",
    "tick`",
    "{brace}",
    "back\\slash",
    "*/",
    "new\nline",
    "%s",
]


def named(names: list[str]) -> nn.Sequential:
    """Layers with these names, some without parameters; torch traces it again for the norm."""
    module = nn.Sequential(nn.GroupNorm(1, 1))
    for name in names:
        module.add_module(name, nn.Conv2d(1, 1, 1))
        module.add_module(f"{name} relu", nn.ReLU())
    return module.eval()


@pytest.mark.parametrize("batch", [None, torch.export.Dim("batch")], ids=["fixed", "dynamic"])
def test_modules_may_have_any_name(batch: object, tmp_path: Path) -> None:
    module, path = named(PUBLISHED_NAMES), tmp_path / "model.pt"
    shapes = None if batch is None else ({0: batch},)
    program = torch.export.export(
        module, (torch.zeros(2 if batch else 1, *SHAPE),), dynamic_shapes=shapes
    )
    torch.export.save(program, path)
    assert assert_same_function(path, Options(), module, 1e-5) == PUBLISHED_NAMES


def test_layers_without_parameters_keep_the_names_of_the_file(tmp_path: Path) -> None:
    path, layers = tmp_path / "model.pt", []
    SAVERS["exported program"](named(["Conv 0", "f(x)"]), path)
    open_graph(path, Options(), name="net", layer=layers.append)
    assert [layer.name for layer in layers if layer.op == "relu"] == ["Conv 0 relu", "f(x) relu"]


def test_names_that_become_alike_stay_different(tmp_path: Path) -> None:
    alike = ["a b", "a-b", "a_b", "a_b_2", "a+b"]
    module, path = named(alike), tmp_path / "model.pt"
    SAVERS["exported program"](module, path)
    assert assert_same_function(path, Options(), module, 1e-5) == alike


def test_a_program_of_unusual_names_may_have_dynamic_sizes(tmp_path: Path) -> None:
    """Torch writes the names into Python source when it traces the program for one size."""
    module, path = named(PUBLISHED_NAMES), tmp_path / "model.pt"
    sizes = ({2: torch.export.Dim("height"), 3: torch.export.Dim("width")},)
    torch.export.save(
        torch.export.export(module, (torch.zeros(1, *SHAPE),), dynamic_shapes=sizes), path
    )
    given = Options(input_shape=SHAPE)
    assert assert_same_function(path, given, module, 1e-5) == PUBLISHED_NAMES
