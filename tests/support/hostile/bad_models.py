"""Model files that torch writes, or nearly: wrong attributes, values, modules, names and outputs.

Paths in the options are relative to the folder that holds the file.
"""

from __future__ import annotations

import functools
import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hostile import HostileFile

SHAPE = (1, 8, 8)
STEPS = (5, 3)  # of the network of sequences: time steps, features

NAN, INF, HUGE = float("nan"), float("inf"), 3e38


def image_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.LeakyReLU(0.1),
        nn.MaxPool2d(2),
        nn.ConvTranspose2d(4, 4, 2),
        nn.AvgPool2d(2),
        nn.PReLU(),
        nn.Hardtanh(-3.0, 3.0),
        nn.Flatten(),
        nn.Linear(16, 3),
        nn.Softmax(1),
    ).eval()


class SequenceNetwork(nn.Module):
    """A recurrent layer, a normalization and rearrangements."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(3, 4, batch_first=True)
        self.norm = nn.LayerNorm(4)
        self.fc = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.gru(x)
        y = self.norm(y)
        y = torch.cat([y[:, -1], y.permute(0, 2, 1).mean(2)], 1)
        return self.fc(y.reshape(-1, 8))


@functools.cache
def _program(network: str) -> bytes:
    torch.manual_seed(0)
    net, shape = {
        "image": (image_network(), SHAPE),
        "sequence": (SequenceNetwork().eval(), STEPS),
    }[network]
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(net, (torch.zeros(1, *shape),)), buffer)
    return buffer.getvalue()


Json = dict[str, Any]


def changed_program(network: str, member: str, change: Callable[[Json], object]) -> bytes:
    """An exported program in which the JSON of one member is changed."""
    changed = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(_program(network))) as source,
        zipfile.ZipFile(changed, "w") as target,
    ):
        for name in source.namelist():
            content = source.read(name)
            if name.endswith(member):
                value = json.loads(content)
                change(value)
                content = json.dumps(value).encode()
            target.writestr(name, content)
    return changed.getvalue()


def _call(program: Json, aten: str) -> Json:
    nodes = program["graph_module"]["graph"]["nodes"]
    return next(node for node in nodes if f".{aten}." in node["target"])


def set_argument(program: Json, aten: str, name: str, value: object) -> None:
    """Sets an argument of the first call of an operator; None removes it."""
    inputs = _call(program, aten)["inputs"]
    at = next((i for i, given in enumerate(inputs) if given["name"] == name), len(inputs))
    kind = inputs[at]["kind"] if at < len(inputs) else 2
    inputs[at : at + 1] = [] if value is None else [{"name": name, "arg": value, "kind": kind}]


def _text(value: str) -> Json:
    return {"as_string": value}


def _whole(value: int) -> Json:
    return {"as_int": value}


def _wholes(*values: int) -> Json:
    return {"as_ints": list(values)}


def _real(value: float) -> Json:
    return {"as_float": value}


_NONE: Json = {"as_none": True}

# network, operator, argument -> values that no exporter writes.
_ARGUMENTS: Mapping[tuple[str, str, str], tuple[Json | None, ...]] = {
    ("image", "conv2d", "stride"): (
        _text("2"),
        _wholes(0, 0),
        _wholes(-1, -1),
        _wholes(2**40, 2**40),
        _wholes(1, 1, 1),
        _wholes(),
        _NONE,
        _real(1.5),
    ),
    ("image", "conv2d", "padding"): (
        _wholes(-1, -1),
        _wholes(10**6, 10**6),
        _wholes(2**62, 2**62),
        _text("valid"),
        None,
    ),
    ("image", "conv2d", "dilation"): (_wholes(0, 0), _wholes(-2, -2), _wholes(100, 100)),
    ("image", "conv2d", "groups"): (_whole(0), _whole(-1), _whole(3), _real(1.0), _text("1")),
    ("image", "conv2d", "weight"): (_NONE, None, _text("w")),
    ("image", "conv2d", "bias"): (_NONE, _whole(3)),
    ("image", "batch_norm", "eps"): (
        _real(-1.0),
        _real(-1e30),
        _real(NAN),
        _real(INF),
        _text("small"),
        _NONE,
    ),
    ("image", "batch_norm", "running_var"): (_NONE, {"as_tensor": {"name": "p_0_weight"}}),
    ("image", "batch_norm", "training"): ({"as_bool": True}, _text("no")),
    ("image", "leaky_relu", "negative_slope"): (
        _real(HUGE),
        _real(1e300),
        _real(-1e30),
        _real(NAN),
        _real(INF),
        _text("0.1"),
        _NONE,
    ),
    ("image", "max_pool2d", "kernel_size"): (
        _wholes(0, 0),
        _wholes(100, 100),
        _wholes(-2, -2),
        _wholes(2, 2, 2),
        _NONE,
        _text("2"),
    ),
    ("image", "max_pool2d", "padding"): (_wholes(5, 5), _wholes(-1, -1)),
    ("image", "conv_transpose2d", "stride"): (_wholes(0, 0), _wholes(10**5, 10**5)),
    ("image", "conv_transpose2d", "output_padding"): (_wholes(9, 9), _wholes(-1, -1)),
    ("image", "avg_pool2d", "divisor_override"): (_whole(0), _whole(-3), _real(0.5)),
    ("image", "avg_pool2d", "kernel_size"): (_wholes(0, 0), _wholes(3, 3)),
    ("image", "hardtanh", "min_val"): (_real(5.0), _real(NAN), _real(-INF), _text("x")),
    ("image", "hardtanh", "max_val"): (_real(-HUGE), _real(INF), _real(HUGE)),
    ("image", "flatten", "start_dim"): (_whole(9), _whole(-9), _whole(0), _real(1.0)),
    ("image", "softmax", "dim"): (_whole(7), _real(1.5), _text("1"), _NONE, _whole(0)),
    ("sequence", "layer_norm", "eps"): (_real(-1.0), _real(NAN), _real(1e300), _text("x")),
    ("sequence", "layer_norm", "normalized_shape"): (_wholes(), _wholes(5), _wholes(-1), _NONE),
    ("sequence", "gru", "num_layers"): (_whole(0), _whole(9), _whole(-1)),
    ("sequence", "gru", "bidirectional"): ({"as_bool": True}, _text("x")),
    ("sequence", "gru", "batch_first"): ({"as_bool": False}, _whole(7)),
    ("sequence", "permute", "dims"): (_wholes(0, 1), _wholes(0, 0, 1), _wholes(9, 9, 9), _NONE),
    ("sequence", "mean", "dim"): (_wholes(7), _wholes(), _NONE, _wholes(2, 2)),
    ("sequence", "cat", "dim"): (_whole(5), _real(1.5), _whole(0)),
    ("sequence", "cat", "tensors"): ({"as_tensors": []}, _NONE, _whole(1)),
    ("sequence", "select", "index"): (_whole(99), _text("-1"), _NONE),
    ("sequence", "reshape", "shape"): (_wholes(-1, -1), _wholes(-1, 7), _wholes(0, 8), _wholes()),
}


def _arguments() -> Iterator[HostileFile]:
    for (network, aten, argument), values in _ARGUMENTS.items():
        for value in values:

            def change(
                program: Json, aten: str = aten, argument: str = argument, value: Any = value
            ) -> None:
                set_argument(program, aten, argument, value)

            text = "left out" if value is None else " ".join(map(str, value.values()))
            yield HostileFile(
                "arguments",
                f"{aten} {argument} {text}",
                _write_program(network, "model.json", change),
                opens=None,
            )


def _write_program(
    network: str, member: str, change: Callable[[Json], object]
) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / "net.pt2"
        path.write_bytes(changed_program(network, member, change))
        return path

    return write


def _graph(program: Json) -> Json:
    graph: Json = program["graph_module"]["graph"]
    return graph


def deep(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def _signature(program: Json) -> Json:
    signature: Json = program["graph_module"]["signature"]
    return signature


def _set_size(program: Json, tensor: str, axis: int, size: Json) -> None:
    _graph(program)["tensor_values"][tensor]["sizes"][axis] = size


def _rename(program: Json, old: str, new: str) -> None:
    text = json.dumps(program).replace(f'"{old}"', json.dumps(new))
    program.clear()
    program.update(json.loads(text))


# What is wrong in the JSON of a program -> how it is made.
_PROGRAMS: Mapping[str, Callable[[Json], object]] = {
    "no nodes": lambda p: _graph(p).update(nodes=[]),
    "nodes are null": lambda p: _graph(p).update(nodes=None),
    "nodes are a text": lambda p: _graph(p).update(nodes="conv2d"),
    "node without a target": lambda p: _graph(p)["nodes"][0].pop("target"),
    "node without a name": lambda p: _graph(p)["nodes"][0].update(name=""),
    "node without metadata": lambda p: _graph(p)["nodes"][0].update(metadata={}),
    "nn_module_stack of one word": lambda p: _graph(p)["nodes"][0]["metadata"].update(
        nn_module_stack="conv"
    ),
    "nn_module_stack with an empty name": lambda p: _graph(p)["nodes"][0]["metadata"].update(
        nn_module_stack="L__self__,,torch.nn.Sequential;L__self___0,,torch.nn.Conv2d"
    ),
    "nn_module_stack with a lone surrogate": lambda p: _graph(p)["nodes"][0]["metadata"].update(
        nn_module_stack="L__self__,,torch.nn.Sequential;L__self___0,\ud800,torch.nn.Conv2d"
    ),
    "stack_trace with a lone surrogate": lambda p: _graph(p)["nodes"][0]["metadata"].update(
        stack_trace='File "\ud800.py", line 3, in forward'
    ),
    "stack_trace without a line": lambda p: _graph(p)["nodes"][0]["metadata"].update(
        stack_trace='File "'
    ),
    "all nodes twice": lambda p: _graph(p).update(nodes=_graph(p)["nodes"] * 2),
    "nodes in reverse order": lambda p: _graph(p)["nodes"].reverse(),
    "node that reads itself": lambda p: set_argument(
        p, "conv2d", "input", {"as_tensor": {"name": "conv2d"}}
    ),
    "node that reads nothing": lambda p: set_argument(
        p, "conv2d", "input", {"as_tensor": {"name": "nobody"}}
    ),
    "an operator that torch does not have": lambda p: _call(p, "softmax").update(
        target="torch.ops.aten.softmin.int"
    ),
    "an overload that torch does not have": lambda p: _call(p, "softmax").update(
        target="torch.ops.aten.softmax.lint"
    ),
    "an operator without an overload": lambda p: _call(p, "softmax").update(
        target="torch.ops.aten.softmax"
    ),
    "an operator of other arguments": lambda p: _call(p, "softmax").update(
        target="torch.ops.aten.lstm.input"
    ),
    "a call that gives several tensors": lambda p: _call(p, "softmax").update(
        target="torch.ops.aten.max.dim"
    ),
    "no tensor_values": lambda p: _graph(p).update(tensor_values={}),
    "a size of 0": lambda p: _set_size(p, "conv2d", 2, {"as_int": 0}),
    "a negative size": lambda p: _set_size(p, "conv2d", 2, {"as_int": -8}),
    "a size that is not what it computes": lambda p: _set_size(p, "conv2d", 2, {"as_int": 5}),
    "a result of more axes": lambda p: _graph(p)["tensor_values"]["conv2d"]["sizes"].append(
        {"as_int": 2}
    ),
    "a result without axes": lambda p: _graph(p)["tensor_values"]["conv2d"].update(
        sizes=[], strides=[]
    ),
    "a size that is a text": lambda p: _set_size(p, "conv2d", 2, {"as_int": "8"}),
    "an input without axes": lambda p: _graph(p)["tensor_values"]["input"].update(
        sizes=[], strides=[]
    ),
    "an input without pixels": lambda p: _set_size(p, "input", 2, {"as_int": 0}),
    "an input of 8 samples": lambda p: _set_size(p, "input", 0, {"as_int": 8}),
    "a result of an unknown dtype": lambda p: _graph(p)["tensor_values"]["conv2d"].update(dtype=99),
    "a result of another dtype": lambda p: _graph(p)["tensor_values"]["conv2d"].update(dtype=5),
    "an input of strings": lambda p: _graph(p)["tensor_values"]["input"].update(dtype="str"),
    "no input": lambda p: _signature(p).update(
        input_specs=[s for s in _signature(p)["input_specs"] if "user_input" not in s]
    ),
    "no output": lambda p: _signature(p).update(output_specs=[]),
    "an output that is nothing": lambda p: _signature(p)["output_specs"][0]["user_output"].update(
        arg={"as_none": True}
    ),
    "an output that is a number": lambda p: _signature(p)["output_specs"][0]["user_output"].update(
        arg={"as_int": 3}
    ),
    "an output that is a weight": lambda p: _graph(p).update(
        outputs=[{"as_tensor": {"name": "p_0_weight"}}]
    ),
    "an output that does not exist": lambda p: _graph(p).update(
        outputs=[{"as_tensor": {"name": "nobody"}}]
    ),
    "an output 50 times": lambda p: (
        _graph(p).update(outputs=_graph(p)["outputs"] * 50),
        _signature(p).update(output_specs=_signature(p)["output_specs"] * 50),
    ),
    "a parameter that is not stored": lambda p: _signature(p)["input_specs"][0]["parameter"].update(
        parameter_name="nothing.weight"
    ),
    "a parameter without a name": lambda p: _signature(p)["input_specs"][0]["parameter"].update(
        parameter_name=""
    ),
    "two parameters of one name": lambda p: _signature(p)["input_specs"][0]["parameter"].update(
        parameter_name="0.bias"
    ),
    "an input of the name of a keyword": lambda p: _rename(p, "input", "class"),
    "an input without a name": lambda p: _rename(p, "input", ""),
    "an input whose name is a lone surrogate": lambda p: _rename(p, "input", "\udc80"),
    "JSON 900 deep": lambda p: p.update(more=deep(900)),
    "JSON 100,000 deep": lambda p: p["graph_module"].update(metadata={"a": "b"}),
    "no graph_module": lambda p: p.pop("graph_module"),
    "graph_module is a list": lambda p: p.update(graph_module=[1]),
    "schema_version of the far future": lambda p: p.update(
        schema_version={"major": 99, "minor": 0}
    ),
    "schema_version is null": lambda p: p.update(schema_version=None),
    "range constraints that are reversed": lambda p: p.update(
        range_constraints={"s0": {"min_val": 9, "max_val": 2}}
    ),
    "symbolic size of all axes": lambda p: [
        _set_size(p, "input", axis, {"as_expr": {"expr_str": f"s{axis}", "hint": None}})
        for axis in range(4)
    ],
}


def _config(change: Callable[[Json], object]) -> Callable[[Json], object]:
    return lambda config: change(config["config"]["0.weight"])


# What is wrong in the JSON about the stored weights -> how it is made.
_CONFIGS: Mapping[str, Callable[[Json], object]] = {
    "a weight larger than its record": _config(
        lambda w: w["tensor_meta"].update(sizes=[{"as_int": 64}] * 4)
    ),
    "a weight of another shape": _config(
        lambda w: w["tensor_meta"].update(sizes=[{"as_int": n} for n in (1, 4, 3, 3)])
    ),
    "a weight of negative strides": _config(
        lambda w: w["tensor_meta"].update(strides=[{"as_int": -1}] * 4)
    ),
    "a weight after its record": _config(
        lambda w: w["tensor_meta"].update(storage_offset={"as_int": 10**9})
    ),
    "a weight before its record": _config(
        lambda w: w["tensor_meta"].update(storage_offset={"as_int": -4})
    ),
    "a weight of an unknown dtype": _config(lambda w: w["tensor_meta"].update(dtype=77)),
    "a weight of int64": _config(lambda w: w["tensor_meta"].update(dtype=5)),
    "a weight of complex numbers": _config(lambda w: w["tensor_meta"].update(dtype=10)),
    "a weight of bool": _config(lambda w: w["tensor_meta"].update(dtype=12)),
    "a weight that is sparse": _config(lambda w: w["tensor_meta"].update(layout=1)),
    "a weight without a record": _config(lambda w: w.update(path_name="weight_99")),
    "a weight without metadata": _config(lambda w: w.update(tensor_meta=None)),
    "weights are a list": lambda config: config.update(config=[1, 2]),
    "no weights": lambda config: config.update(config={}),
}


def _programs() -> Iterator[HostileFile]:
    for name, change in _PROGRAMS.items():
        yield HostileFile(
            "programs", name, _write_program("image", "model.json", change), opens=None
        )
    for name, change in _CONFIGS.items():
        write = _write_program("image", "weights_config.json", change)
        yield HostileFile("programs", name, write, opens=None)


# --- pickled modules of plain layers


class _Chain:
    """Changes to a plain network, before it is pickled."""

    @staticmethod
    def attribute(layer: int, name: str, value: object) -> Callable[[nn.Sequential], None]:
        def change(net: nn.Sequential) -> None:
            net[layer].__dict__[name] = value

        return change

    @staticmethod
    def filled(
        layer: int, name: str, value: float, only_first: bool = False
    ) -> Callable[[nn.Sequential], None]:
        def change(net: nn.Sequential) -> None:
            tensor = net[layer].get_parameter(name) if name != "running_var" else None
            tensor = net[layer].running_var if tensor is None else tensor.data
            tensor.ravel()[: 1 if only_first else None] = value

        return change

    @staticmethod
    def parameter(layer: int, name: str, value: object) -> Callable[[nn.Sequential], None]:
        def change(net: nn.Sequential) -> None:
            kind = "_buffers" if name in net[layer]._buffers else "_parameters"
            getattr(net[layer], kind)[name] = value

        return change


def _nested(depth: int) -> nn.Module:
    net: nn.Module = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    for _ in range(depth):
        net = nn.Sequential(net)
    return net


def _contain_itself(net: nn.Sequential) -> None:
    net._modules["11"] = net


def _contain_each_other(net: nn.Sequential) -> None:
    inner = nn.Sequential()
    inner._modules["0"] = net
    net._modules["11"] = inner


def _rename_layer(new: str) -> Callable[[nn.Sequential], None]:
    def change(net: nn.Sequential) -> None:
        net._modules = {new if name == "0" else name: layer for name, layer in net._modules.items()}

    return change


CONV, NORM, LEAKY, POOL, UP, AVERAGE, PRELU, CLAMP, FLATTEN, LINEAR, SOFTMAX = range(11)
_at, _fill, _store = _Chain.attribute, _Chain.filled, _Chain.parameter

_MODULES: Mapping[str, Callable[[nn.Sequential], object]] = {
    "stride is a text": _at(CONV, "stride", "2"),
    "stride is None": _at(CONV, "stride", None),
    "stride is 0": _at(CONV, "stride", (0, 0)),
    "padding is huge": _at(CONV, "padding", (2**31, 2**31)),
    "padding is larger than int64": _at(CONV, "padding", (2**70, 2**70)),
    "dilation is 0": _at(CONV, "dilation", (0, 0)),
    "groups do not divide": _at(CONV, "groups", 3),
    "padding_mode is unknown": _at(CONV, "padding_mode", "mirror"),
    "padding_mode is circular": (_at(CONV, "padding_mode", "circular")),
    "kernel_size of a pool is None": _at(POOL, "kernel_size", None),
    "kernel_size of a pool is 0": _at(POOL, "kernel_size", 0),
    "eps is -1": _at(NORM, "eps", -1.0),
    "eps is a list": _at(NORM, "eps", [1e-5]),
    "slope is 3e38": _at(LEAKY, "negative_slope", HUGE),
    "slope is 1e19": _at(LEAKY, "negative_slope", 1e19),
    "slope is a dict": _at(LEAKY, "negative_slope", {}),
    "start_dim is a text": _at(FLATTEN, "start_dim", "1"),
    "dim is 1.5": _at(SOFTMAX, "dim", 1.5),
    "dim is 9": _at(SOFTMAX, "dim", 9),
    "limits are reversed": _at(CLAMP, "min_val", 9.0),
    "limits are NaN": _at(CLAMP, "max_val", NAN),
    "_parameters is None": _at(CONV, "_parameters", None),
    "_parameters is a list": _at(CONV, "_parameters", [1]),
    "_buffers is None": _at(NORM, "_buffers", None),
    "_modules is None": _at(CONV, "_modules", None),
    "_modules holds a number": lambda net: net._modules.update({"11": 3}),
    "_modules holds a tensor": lambda net: net._modules.update({"11": torch.zeros(2)}),
    "_modules holds None": lambda net: net._modules.update({"11": None}),
    "_modules has a number as name": lambda net: net._modules.update({11: nn.ReLU()}),
    "training is missing": lambda net: net[CONV].__dict__.pop("training"),
    "_forward_hooks are missing": lambda net: net[CONV].__dict__.pop("_forward_hooks"),
    "_forward_hooks is None": _at(CONV, "_forward_hooks", None),
    "a forward hook is a number": lambda net: net[CONV]._forward_hooks.update({0: 3}),
    "forward is a number": _at(CONV, "forward", 3),
    "train is None": _at(CONV, "train", None),
    "state_dict is None": lambda net: net.__dict__.update(state_dict=None),
    "no attributes": lambda net: net[CONV].__dict__.clear(),
    "no layers": lambda net: net._modules.clear(),
    "it contains itself": _contain_itself,
    "two modules contain each other": _contain_each_other,
    "a name is empty": _rename_layer(""),
    "a name is a dot": _rename_layer("."),
    "a name is a lone surrogate": _rename_layer("\ud800"),
    "a name is 100,000 letters": _rename_layer("a" * 100_000),
    "a name holds marks of options": _rename_layer("\x02a\x03"),
    "a weight is missing": lambda net: net[CONV]._parameters.pop("weight"),
    "a weight is None": _store(CONV, "weight", None),
    "a weight is a number": _store(CONV, "weight", 3),
    "a weight is of another shape": _store(CONV, "weight", nn.Parameter(torch.ones(4, 2, 3, 3))),
    "a weight has no axes": _store(CONV, "weight", nn.Parameter(torch.tensor(1.0))),
    "a weight has no elements": _store(CONV, "weight", nn.Parameter(torch.ones(0, 1, 3, 3))),
    "a weight is of meta device": _store(
        CONV, "weight", nn.Parameter(torch.ones(4, 1, 3, 3, device="meta"))
    ),
    "a weight is sparse": _store(LINEAR, "weight", nn.Parameter(torch.ones(3, 16).to_sparse())),
    "a weight is quantized": _store(
        LINEAR, "weight", torch.quantize_per_tensor(torch.ones(3, 16), 0.1, 0, torch.qint8)
    ),
    "a weight is complex": _store(
        LINEAR, "weight", nn.Parameter(torch.ones(3, 16, dtype=torch.complex64))
    ),
    "a weight is bool": _store(LINEAR, "weight", torch.ones(3, 16, dtype=torch.bool)),
    "a weight is int64": _store(LINEAR, "weight", torch.ones(3, 16, dtype=torch.int64)),
    "a weight is float8": _store(LINEAR, "weight", torch.ones(3, 16).to(torch.float8_e4m3fn)),
    "a weight is float64": _store(LINEAR, "weight", torch.ones(3, 16, dtype=torch.float64)),
    "a weight of float64 is 1e300": _store(
        LINEAR, "weight", torch.full((3, 16), 1e300, dtype=torch.float64)
    ),
    "a weight has strides of 0": _store(LINEAR, "weight", torch.ones(1, 1).expand(3, 16)),
    "a weight is not contiguous": _store(LINEAR, "weight", torch.ones(16, 3).t()),
    "two layers share a weight": lambda net: net[UP]._parameters.update(
        weight=nn.Parameter(net[LINEAR].weight[:2].reshape(1, 4, 2, 4)[..., :2].repeat(4, 1, 1, 1))
    ),
    "all is float64": lambda net: net.double(),
    "all is half": lambda net: net.half(),
    "all is bfloat16": lambda net: net.bfloat16(),
    "a variance is negative": _fill(NORM, "running_var", -1.0),
    "one variance is negative": _fill(NORM, "running_var", -1.0, True),
    "a variance is 0": _fill(NORM, "running_var", 0.0),
    "a variance is the negative of eps": _fill(NORM, "running_var", -1e-5),
    "a variance is 3e38": _fill(NORM, "running_var", HUGE),
    "a variance is NaN": _fill(NORM, "running_var", NAN),
    "weights are 3e38": _fill(CONV, "weight", HUGE),
    "weights are 1e19": _fill(CONV, "weight", 1e19),
    "one weight is 3e38": _fill(LINEAR, "weight", HUGE, True),
    "one weight is NaN": _fill(LINEAR, "weight", NAN, True),
    "one weight is infinite": _fill(LINEAR, "weight", INF, True),
    "one bias is -3e38": _fill(LINEAR, "bias", -HUGE, True),
    "biases are 1e17": _fill(CONV, "bias", 1e17),
    "weights are 0": _fill(CONV, "weight", 0.0),
    "weights are 1e-45": _fill(CONV, "weight", 1e-45),
    "last weights are 1e-45": _fill(LINEAR, "weight", 1e-45),
    "all weights are 0": lambda net: [p.data.zero_() for p in net.parameters()],
    "slopes of PReLU are 3e38": _fill(PRELU, "weight", HUGE),
    "slopes of PReLU are NaN": _fill(PRELU, "weight", NAN),
    "scales of a norm are 1e30": _fill(NORM, "weight", 1e30),
    "scales of a norm are 0": _fill(NORM, "weight", 0.0),
    "shifts that cancel": lambda net: (
        net[CONV].bias.data.fill_(1e12),
        net[NORM].running_mean.fill_(1e12),
    ),
}


def _modules() -> Iterator[HostileFile]:
    for name, change in _MODULES.items():
        yield HostileFile(
            "modules",
            name,
            functools.partial(_write_module, change),
            {"input_shape": SHAPE},
            opens=None,
        )
    for depth in (100, 900, 3000):
        yield HostileFile(
            "modules",
            f"{depth} nested modules",
            functools.partial(_write_nested, depth),
            {"input_shape": SHAPE},
            opens=None,
        )


def _write_module(change: Callable[[nn.Sequential], object], folder: Path) -> Path:
    net, path = image_network(), folder / "net.pt"
    change(net)
    torch.save(net, path)
    return path


def _write_nested(depth: int, folder: Path) -> Path:
    import sys

    path, limit = folder / "net.pt", sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    try:
        torch.save(_nested(depth), path)
    finally:
        sys.setrecursionlimit(limit)
    return path


# --- state_dicts, and the users' files that build their networks

_STATES: Mapping[str, Callable[[dict[Any, Any]], object]] = {
    "an empty name": lambda state: state.update({"": torch.ones(1)}),
    "a name is a number": lambda state: state.update({3: torch.ones(1)}),
    "a name is None": lambda state: state.update({None: torch.ones(1)}),
    "a name is a tuple": lambda state: state.update({("a", 1): torch.ones(1)}),
    "a name is a lone surrogate": lambda state: state.update({"\ud800": torch.ones(1)}),
    "a name holds marks of options": lambda state: state.update({"\x02a=\x03": torch.ones(1)}),
    "a value is a text": lambda state: state.update({"0.weight": "text"}),
    "a value is None": lambda state: state.update({"0.weight": None}),
    "a value has no axes": lambda state: state.update({"0.weight": torch.tensor(1.0)}),
    "a value is complex": lambda state: state.update(
        {"0.weight": torch.ones(4, 1, 3, 3, dtype=torch.complex64)}
    ),
    "a value is sparse": lambda state: state.update({"9.weight": torch.ones(3, 16).to_sparse()}),
    "a value is quantized": lambda state: state.update(
        {"9.weight": torch.quantize_per_tensor(torch.ones(3, 16), 0.1, 0, torch.qint8)}
    ),
    "a value is on the meta device": lambda state: state.update(
        {"9.weight": torch.ones(3, 16, device="meta")}
    ),
    "a value is bool": lambda state: state.update({"9.weight": torch.ones(3, 16) > 0}),
    "a value of float64 is 1e300": lambda state: state.update(
        {"9.weight": torch.full((3, 16), 1e300, dtype=torch.float64)}
    ),
    "a value is NaN": lambda state: state["9.weight"].fill_(NAN),
    "a value is expanded": lambda state: state.update({"9.weight": torch.ones(1, 1).expand(3, 16)}),
    "a mask of another shape": lambda state: state.update(
        {"9.weight_orig": state.pop("9.weight"), "9.weight_mask": torch.ones(5)}
    ),
    "a mask that is complex": lambda state: state.update(
        {
            "9.weight_orig": state.pop("9.weight"),
            "9.weight_mask": torch.ones(3, 16, dtype=torch.complex64),
        }
    ),
    "it contains itself": lambda state: state.update({"state_dict": state}),
    "it is nested 200 deep": lambda state: state.update(
        {"model": functools.reduce(lambda inner, _: {"model": inner}, range(200), dict(state))}
    ),
    "it is empty": lambda state: state.clear(),
}

BUILDS = """
from torch import nn

def Net():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.LeakyReLU(0.1), nn.MaxPool2d(2),
        nn.ConvTranspose2d(4, 4, 2), nn.AvgPool2d(2), nn.PReLU(), nn.Hardtanh(-3.0, 3.0),
        nn.Flatten(), nn.Linear(16, 3), nn.Softmax(1))
"""

_RAISES_IN_FORWARD = """
import torch
from torch import nn

class Custom(BaseException):
    pass

class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no text")
    __repr__ = __str__

class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.LeakyReLU(0.1),
            nn.MaxPool2d(2), nn.ConvTranspose2d(4, 4, 2), nn.AvgPool2d(2), nn.PReLU(),
            nn.Hardtanh(-3.0, 3.0), nn.Flatten(), nn.Linear(16, 3), nn.Softmax(1))
    def forward(self, x):
        RESULT
"""

# What a user's file does -> its text. The option names `Net`.
_USER_FILES: Mapping[str, str] = {
    "SystemExit": "raise SystemExit(3)\n",
    "SystemExit of a text": "import sys\nsys.exit('done')\n",
    "os._exit is not called": "import os\nraise OSError('disk')\n",
    "GeneratorExit": "raise GeneratorExit\n",
    "a BaseException of its own": "class Stop(BaseException):\n    pass\nraise Stop('now')\n",
    "an exception without a text": (
        "class Mute(Exception):\n    def __str__(self):\n        raise RuntimeError\nraise Mute\n"
    ),
    "an exception whose text is a number": (
        "class Odd(Exception):\n    def __str__(self):\n        return 3\nraise Odd\n"
    ),
    "an exception whose text is a lone surrogate": "raise ValueError('\\ud800')\n",
    "an exception whose text is empty": "raise ValueError\n",
    "an exception whose text is lines": "raise ValueError('\\n\\n')\n",
    "an exception with marks of options": "raise ValueError('\\x02a=b\\x03')\n",
    "an exception group": "raise ExceptionGroup('two', [ValueError(1), TypeError(2)])\n",
    "recursion without end": "def Net():\n    return Net()\n",
    "a syntax error": "def Net(:\n",
    "a null byte": "x = 1\0\n",
    "bytes that are not UTF-8": "x = '\udcff'\n",
    "StopIteration": "def Net():\n    raise StopIteration\n",
    "Net gives None": "def Net():\n    return None\n",
    "Net gives a class": "from torch import nn\ndef Net():\n    return nn.Linear\n",
    "Net gives a class that says it is a module": (
        "from torch import nn\nclass Net:\n    @property\n    def __class__(self):\n"
        "        return nn.Module\n"
    ),
    "Net is a number": "Net = 3\n",
    "Net is not there": "Other = print\n",
    "Net does not call super().__init__": (
        "from torch import nn\nclass Net(nn.Module):\n    def __init__(self):\n        pass\n"
    ),
    "state_dict raises": (
        BUILDS.replace("def Net", "def Base") + "class Net(nn.Sequential):\n"
        "    def __init__(self):\n        super().__init__(*Base())\n"
        "    def state_dict(self, *a, **k):\n        raise RuntimeError('no weights')\n"
    ),
    "state_dict gives a list": (
        BUILDS.replace("def Net", "def Base") + "class Net(nn.Sequential):\n"
        "    def __init__(self):\n        super().__init__(*Base())\n"
        "    def state_dict(self, *a, **k):\n        return [1]\n"
    ),
    "load_state_dict raises": (
        BUILDS.replace("def Net", "def Base") + "class Net(nn.Sequential):\n"
        "    def __init__(self):\n        super().__init__(*Base())\n"
        "    def load_state_dict(self, *a, **k):\n        raise KeyError('mine')\n"
    ),
    "train raises SystemExit": (
        BUILDS.replace("def Net", "def Base") + "class Net(nn.Sequential):\n"
        "    def __init__(self):\n        super().__init__(*Base())\n"
        "    def train(self, *a, **k):\n        raise SystemExit\n"
    ),
    **{
        f"forward {what}": _RAISES_IN_FORWARD.replace("RESULT", body)
        for what, body in {
            "raises SystemExit": "raise SystemExit(2)",
            "raises a BaseException of its own": "raise Custom('x')",
            "raises an exception without a text": "raise Mute",
            "gives None": "super().forward(x)",
            "gives a number": "return 3",
            "gives its input": "return x",
            "gives its input twice": "return x, x",
            "gives nothing": "return ()",
            "gives a text": "return 'x'",
            "gives a weight": "return self[0].weight",
            "gives a constant": "return torch.ones(1, 3)",
            "gives one tensor twice": "y = super().forward(x)\n        return y, y",
            "gives a dict": "return {'a': super().forward(x), 'b': x}",
            "gives a list of lists": "return [[super().forward(x)], [x]]",
            "gives a tensor and a number": "return super().forward(x), 3",
            "gives a tensor and a constant": "return super().forward(x), torch.ones(1, 3)",
            "gives a size": "return x.shape[2]",
            "gives a shape": "return x.shape",
            "gives integers": "return super().forward(x).argmax(1)",
            "gives bools": "return super().forward(x) > 0",
            "gives a tensor without axes": "return super().forward(x).sum()",
            "gives an empty tensor": "return super().forward(x)[:, :0]",
            "gives complex numbers": "return torch.fft.fft(super().forward(x))",
            "changes its input": "x.add_(1)\n        return super().forward(x)",
            "changes its result": "y = super().forward(x)\n        y.mul_(2)\n        return y",
            "changes a weight": "self[0].bias.data.add_(1)\n        return super().forward(x)",
            "changes a part": "y = super().forward(x)\n        y[:, 0] = 0\n        return y",
            "divides by 0": "return super().forward(x) / 0",
            "takes the logarithm of 0": "return torch.log(super().forward(x) * 0)",
            "multiplies by 3e38": "return super().forward(x) * 3e38 * 3e38",
            "multiplies by 1e25": "return super().forward(x) * 1e25",
            "adds infinity": "return super().forward(x) + float('inf')",
            "adds NaN": "return super().forward(x) * float('nan')",
            "multiplies by 0": "return super().forward(x) * 0",
            "subtracts itself": "y = super().forward(x)\n        return y - y",
            "exponentiates much": "return torch.exp(torch.exp(super().forward(x) * 100))",
            "makes noise": "return super().forward(x) + torch.rand(1, 3)",
            "gives six axes": "return super().forward(x).reshape(1, 1, 1, 3, 1, 1)",
            "removes the batch": "return super().forward(x).reshape(3)",
            "reads no input": "return self[0].bias * 2",
            "joins 300 copies": "return torch.cat([super().forward(x)] * 300, 1)",
        }.items()
    },
}


def _states() -> Iterator[HostileFile]:
    given = {"input_shape": SHAPE, "architecture": "net.py:Net"}
    for name, change in _STATES.items():
        write = functools.partial(_write_state, change, BUILDS)
        yield HostileFile("state_dicts", name, write, given, opens=None)
    for name, text in _USER_FILES.items():
        write = functools.partial(_write_state, lambda state: None, text)
        yield HostileFile("users' files", name, write, given, opens=None)


def _write_state(change: Callable[[dict[Any, Any]], object], text: str, folder: Path) -> Path:
    state, path = dict(image_network().state_dict()), folder / "net.pt"
    change(state)
    torch.save(state, path)
    (folder / "net.py").write_bytes(text.encode("utf-8", "surrogateescape"))
    return path


# --- networks of unusual inputs, exported or scripted


class _Of(nn.Module):
    """A network whose forward is a function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.fc = nn.Linear(3, 3)

    def forward(self, *inputs: Any) -> Any:
        return self.function(self.fc, *inputs)


_INPUTS: Mapping[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "no axes": (lambda fc, x: x * 2, (torch.tensor(1.0),)),
    "one axis": (lambda fc, x: x * 2, (torch.ones(3),)),
    "one axis of one": (lambda fc, x: x * 2, (torch.ones(1),)),
    "five axes": (lambda fc, x: fc(x), (torch.ones(1, 2, 2, 2, 3),)),
    "six axes": (lambda fc, x: fc(x), (torch.ones(1, 2, 2, 2, 2, 3),)),
    "twelve axes": (lambda fc, x: torch.relu(x), (torch.ones([1] + [2] * 11),)),
    "a batch of 7": (lambda fc, x: fc(x), (torch.ones(7, 3),)),
    "no samples": (lambda fc, x: fc(x), (torch.ones(0, 3),)),
    "no values": (lambda fc, x: torch.relu(x), (torch.ones(1, 0),)),
    "integers": (lambda fc, x: fc(x.float()), (torch.ones(1, 3, dtype=torch.int64),)),
    "bools": (lambda fc, x: fc(x.float()), (torch.ones(1, 3, dtype=torch.bool),)),
    "complex numbers": (lambda fc, x: fc(x.real), (torch.ones(1, 3, dtype=torch.complex64),)),
    "float64": (lambda fc, x: fc(x.float()), (torch.ones(1, 3, dtype=torch.float64),)),
    "a number": (lambda fc, x, n: fc(x) * n, (torch.ones(1, 3), 3)),
    "a text": (lambda fc, x, n: fc(x), (torch.ones(1, 3), "mode")),
    "nothing": (lambda fc: fc(torch.ones(1, 3)), ()),
    "a list": (lambda fc, x: fc(x[0]) + x[1], ([torch.ones(1, 3), torch.ones(1, 3)],)),
    "a dict": (lambda fc, x: fc(x["a"]), ({"a": torch.ones(1, 3)},)),
    "one that is not used": (lambda fc, x, y: fc(x), (torch.ones(1, 3), torch.ones(1, 3))),
    "none that is used": (lambda fc, x: fc.bias[None] * 1, (torch.ones(1, 3),)),
    "two of different batch": (
        lambda fc, x, y: fc(x) + y.sum(0, True),
        (torch.ones(1, 3), torch.ones(2, 3)),
    ),
}


def _inputs() -> Iterator[HostileFile]:
    for name, (function, example) in _INPUTS.items():
        yield HostileFile(
            "inputs", name, functools.partial(_write_exported, function, example), opens=None
        )


def _write_exported(function: Callable[..., Any], example: tuple[Any, ...], folder: Path) -> Path:
    path = folder / "net.pt2"
    torch.export.save(torch.export.export(_Of(function).eval(), example, strict=False), path)
    return path


def cases() -> Iterator[HostileFile]:
    """Every bad model."""
    yield from _arguments()
    yield from _programs()
    yield from _modules()
    yield from _states()
    yield from _inputs()
