"""Files that try to run code while they are opened. Code that runs creates the file `pwned`."""

from __future__ import annotations

import functools
import io
import json
import os
import pickle
import pickletools
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn

from hostile import HostileFile
from hostile.archives import (
    Computes,
    exported,
    file_of,
    members_of,
    saved,
    script_forward,
    sequential,
    small_pickle,
    small_program,
    small_script,
    with_content,
    with_member,
    with_program,
)

COMMAND = "touch pwned"
_PYTHON = "__import__('os').system('touch pwned')"


def cases() -> Iterator[HostileFile]:
    yield from _pickles()
    yield from _pickled_modules()
    yield from _programs()
    yield from _scripts()


class _Runs:
    """Pickled, a call."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


_CALLS: dict[str, Callable[[], object]] = {
    "os.system": lambda: _Runs(os.system, COMMAND),
    "eval": lambda: _Runs(eval, _PYTHON),
    "exec": lambda: _Runs(exec, _PYTHON),
    "Path.touch": lambda: _Runs(Path.touch, Path("pwned")),
    "open": lambda: _Runs(open, "pwned", "w"),
    "partial": lambda: functools.partial(os.system, COMMAND),
    "torch.save": lambda: _Runs(torch.save, 1, "pwned"),
    "torch.load": lambda: _Runs(torch.load, "net.pt"),
    "torch.jit.load": lambda: _Runs(torch.jit.load, "net.pt"),
    "torch.hub.load": lambda: _Runs(torch.hub.load, ".", "x"),
    "torch.from_file": lambda: _Runs(torch.from_file, "pwned", True, 4),
    "UntypedStorage.from_file": lambda: _Runs(torch.UntypedStorage.from_file, "pwned", True, 4),
    "pickle.loads": lambda: _Runs(pickle.loads, pickle.dumps(1)),
    "torch.compile": lambda: _Runs(torch.compile, None),
}


def _pickles() -> Iterator[HostileFile]:
    for name, make in _CALLS.items():
        for zipped in (True, False):
            kind = "archive" if zipped else "old file"
            yield file_of(
                "code in pickles",
                f"{name}, {kind}",
                lambda make=make, zipped=zipped: saved(
                    {"weight": make()}, _use_new_zipfile_serialization=zipped
                ),
            )
    for protocol in (3, 4, 5):
        yield file_of(
            "code in pickles",
            f"protocol {protocol}",
            lambda p=protocol: saved({"weight": _Runs(os.system, COMMAND)}, pickle_protocol=p),
        )
    opcodes = {
        "OBJ": b"\x80\x02(cposix\nsystem\nX\x0b\x00\x00\x00touch pwnedo.",
        "INST": b"\x80\x02(X\x0b\x00\x00\x00touch pwnediposix\nsystem\n.",
        "a persistent id": b"\x80\x02cposix\nsystem\nX\x0b\x00\x00\x00touch pwned\x85RQ.",
        "an extension": b"\x80\x02\x82\x01.",
        "names with dots": b"\x80\x02ctorch\nos.system\nX\x0b\x00\x00\x00touch pwned\x85R.",
        "a name of Python 2": b"\x80\x02c__builtin__\neval\nX%b%b\x85R."
        % (len(_PYTHON).to_bytes(4, "little"), _PYTHON.encode()),
        "attributes of a function": b"\x80\x02cposix\nsystem\n}X\x01\x00\x00\x00aK\x01sb.",
    }
    for name, pickled in opcodes.items():
        for place in ("data.pkl", "constants.pkl"):
            archive = small_pickle if place == "data.pkl" else small_script
            yield file_of(
                "code in pickles",
                f"{name} in {place}",
                lambda archive=archive, place=place, pickled=pickled: with_content(
                    archive(), place, pickled
                ),
            )


def _pickled_modules() -> Iterator[HostileFile]:
    """Layers whose attributes torch or the compiler would call."""

    def with_attribute(name: str, value: Callable[[], object]) -> Callable[[], bytes]:
        def make() -> bytes:
            net = sequential()
            net[0].__dict__[name] = value()
            return saved(net)

        return make

    def hooks() -> dict:
        return {0: functools.partial(os.system, COMMAND)}

    attributes: dict[str, Callable[[], object]] = {
        "forward": lambda: functools.partial(os.system, COMMAND),
        "_forward_hooks": hooks,
        "_forward_pre_hooks": hooks,
        "_state_dict_hooks": hooks,
        "_backward_hooks": hooks,
        "__class__": lambda: nn.Linear,
        "activation": lambda: nn.Linear,
        "_slow_forward": lambda: torch._utils._rebuild_tensor_v2,
        "_call_impl": lambda: nn.Embedding,
        "padding_mode": lambda: _Runs(eval, _PYTHON),
        "extra_repr": lambda: nn.Linear,
        "float": lambda: nn.Linear,
        "eval": lambda: nn.Linear,
    }
    for name, value in attributes.items():
        yield file_of("code in modules", name, with_attribute(name, value))
    yield file_of(
        "code in modules",
        "a parameter with a state",
        lambda: saved({"weight": _Runs(nn.Parameter.__setstate__, os.system)}),
    )
    yield file_of(
        "code in modules",
        "a script in a pickle",
        lambda: saved({"weight": _Runs(torch.jit.CompilationUnit, "def f(): pass")}),
    )


def _programs() -> Iterator[HostileFile]:
    def replaced(key: str, value: object) -> Callable[[], bytes]:
        def change(part: object) -> None:
            for child in part if isinstance(part, list) else []:
                change(child)
            if isinstance(part, dict):
                for child in part.values():
                    change(child)
                if key in part:
                    part[key] = value

        return lambda: with_program(small_program(), change)

    spec = json.dumps([1, {"type": "os.system", "context": COMMAND, "children_spec": []}])
    values: dict[str, tuple[str, object]] = {
        "target": ("target", "torch.os.system"),
        "target of a module": ("target", "torch._utils.os.system"),
        "target of operators": ("target", "torch.ops.load_library"),
        "target with code": ("target", f"torch.ops.aten.relu.default({_PYTHON})"),
        "operator that saves": ("target", "torch.ops.aten.save.default"),
        "operator from_file": ("target", "torch.ops.aten.from_file.default"),
        "Python builtin": ("target", "_operator.os.system"),
        "builtins.eval": ("target", "builtins.eval"),
        "input structure": ("in_spec", spec),
        "output structure": ("out_spec", spec),
        "guards": ("guards_code", [_PYTHON]),
        "names": ("name", f"x); {_PYTHON}; ("),
        "metadata": ("metadata", {"from_node": _PYTHON, "nn_module_stack": f"a,{_PYTHON},os"}),
        "custom metadata": ("metadata", {"custom": json.dumps({"code": _PYTHON})}),
        "stack_trace": ("stack_trace", f'File "{_PYTHON}", line 1'),
        "treespec": ("treespec_namedtuple_fields", {"os.system": {"fields": [COMMAND]}}),
        "argument that is a size": ("arg", {"as_sym_int": {"as_name": _PYTHON}}),
        "argument that is an expression": ("arg", {"as_expr": {"expr_str": _PYTHON}}),
        "argument that is an object": ("arg", {"as_custom_obj": {"name": "a", "class_fqn": "os"}}),
        "argument that is an operator": ("arg", {"as_operator": "torch.os.system"}),
        "argument that is a text": ("arg", {"as_string": _PYTHON}),
    }
    for name, (key, value) in values.items():
        yield file_of("code in programs", name, replaced(key, value), opens=None)
    for size in (_PYTHON, f"Symbol({_PYTHON})", "Integer.__class__", "s0.__class__", "lambda: 1"):
        yield file_of("code in programs", f"size {size}", lambda s=size: _with_size(s))
    evil = saved(_Runs(os.system, COMMAND))
    for member in (
        "data/sample_inputs/model.pt",
        "data/weights/model.pt",
        "data/constants/model.pt",
        "data/constants/custom_obj_0",
        "data/weights/weight_0.pt",
        "extra/code.py",
        "data/aotinductor/model/model.so",
    ):
        yield file_of(
            "code in programs",
            f"member {member}",
            lambda member=member: _with_member(member, evil),
            opens=None,
        )
    yield file_of("code in programs", "a pickled weight", lambda: _pickled_weight(evil))


def _with_size(text: str) -> bytes:
    def change(part: object) -> None:
        for child in part if isinstance(part, list) else []:
            change(child)
        if isinstance(part, dict):
            for child in part.values():
                change(child)
            if "expr_str" in part:
                part["expr_str"] = text

    batch = torch.export.Dim("batch")
    archive = exported(Computes(torch.relu), dynamic_shapes=({0: batch},))
    return with_program(archive, change)


def _with_member(member: str, content: bytes) -> bytes:
    archive = small_program()
    if any(name.endswith(member) for name in members_of(archive)):
        return with_content(archive, member, content)
    return with_member(archive, member, content)


def _pickled_weight(content: bytes) -> bytes:
    archive, ending = small_program(), "model_weights_config.json"
    name = next(name for name in members_of(archive) if name.endswith(ending))
    config = json.loads(members_of(archive)[name])
    for weight in config["config"].values():
        weight["use_pickle"] = True
    return with_content(
        with_content(archive, ending, json.dumps(config).encode()), "weight_0", content
    )


_SCRIPTS: dict[str, tuple[str, ...]] = {
    "save": ('torch.save(x, "pwned")', "return x"),
    "save by ops": ('ops.aten.save(x, "pwned")', "return x"),
    "from_file": ('return torch.from_file("pwned", True, 4)',),
    "another library": ("return ops.os.system(x)",),
    "load_library": ('return ops.load_library("pwned.so")',),
    "an import": ("import os", 'os.system("touch pwned")', "return x"),
    "__import__": (f"y = {_PYTHON}", "return x"),
    "a default value": ('def f(x=torch.save(1, "pwned")): pass', "return x"),
    "save by another name": ('getattr(torch, "sa" + "ve")(x, "pwned")', "return x"),
    "save with spaces": ('torch . save (x, "pwned")', "return x"),
    "an escape": ("torch.\\", 'save(x, "pwned")', "return x"),
    "open": ('y = open("pwned", "w")', "return x"),
    "print to a file": ('print(x, file=open("pwned", "w"))', "return x"),
    "raise": ('ops.prim.RaiseException("x", "pwned")', "return x"),
    "fork": ('y = fork(torch.save, x, "pwned")', "return x"),
}


def _scripts() -> Iterator[HostileFile]:
    for name, lines in _SCRIPTS.items():
        yield file_of("code in scripts", name, lambda lines=lines: script_forward(lines))

    def with_class(code: str) -> Callable[[], bytes]:
        archive = script_forward(["return x"])
        name = next(name for name in members_of(archive) if name.endswith(".py"))
        before = members_of(archive)[name]
        return lambda: with_content(archive, ".py", before + code.encode())

    classes = {
        "__setstate__": "  def __setstate__(self, s: int) -> None:\n    torch.save(1, 'pwned')\n",
        "a class attribute": "  y : Tensor = torch.zeros([2])\n",
        "a constant": "y = torch.save(1, 'pwned')\n",
        "a default": "  def f(self, x: Tensor = torch.save(1, 'pwned')) -> Tensor:\n    return x\n",
    }
    for name, code in classes.items():
        yield file_of("code in scripts", name, with_class(code))
    yield file_of(
        "code in scripts",
        "Python 2 pickle of a script",
        lambda: with_content(small_script(), "data.pkl", _optimized(COMMAND)),
    )


def _optimized(command: str) -> bytes:
    buffer = io.BytesIO(pickle.dumps(_Runs(os.system, command), protocol=2))
    return pickletools.optimize(buffer.getvalue())
