"""Small files that take much memory: bombs, sizes that are not true, and calls that allocate."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator

import torch
from torch import nn

from hostile import HostileFile
from hostile.archives import (
    MARKED,
    Computes,
    Member,
    changed,
    deflated_zeros,
    exported,
    file_of,
    members_of,
    raw_archive,
    saved,
    script_forward,
    sequential,
    small_pickle,
    small_program,
    small_script,
    with_content,
    with_member,
    with_number,
    with_program,
    zeros,
)

_BOMB = 15 << 28  # 3.75 GiB, the most without zip64
_LARGE = 3_000_000_000


def cases() -> Iterator[HostileFile]:
    yield from _bombs()
    yield from _untrue_sizes()
    yield from _constructors()
    yield from _large_networks()
    yield from _called_layers()
    yield from _texts()


def _bombs() -> Iterator[HostileFile]:
    """Members that are a thousand times larger when they are unpacked."""
    targets: dict[str, tuple[Callable[[], bytes], str]] = {
        "program": (small_program, "models/model.json"),
        "weight of a program": (small_program, "weight_0"),
        "configuration of weights": (small_program, "model_weights_config.json"),
        "version of a program": (small_program, "archive_format"),
        "data.pkl of a pickle": (small_pickle, "data.pkl"),
        "storage of a pickle": (small_pickle, "data/0"),
        "version of a pickle": (small_pickle, ".data/serialization_id"),
        "code of a script": (small_script, "archives.py"),
        "data.pkl of a script": (small_script, "data.pkl"),
        "constants.pkl of a script": (small_script, "constants.pkl"),
        "storage of a script": (small_script, "data/0"),
    }
    for name, (archive, ending) in targets.items():
        yield file_of(
            "zip bombs",
            name,
            lambda archive=archive, ending=ending: changed(
                archive(), ending, lambda member: zeros(member, _BOMB)
            ),
        )
    for kind, archive in {
        "program": small_program,
        "pickle": small_pickle,
        "script": small_script,
    }.items():
        yield file_of(
            "zip bombs",
            f"member that a {kind} does not need",
            lambda archive=archive: raw_archive(
                [
                    *(Member(*item) for item in members_of(archive()).items()),
                    zeros(f"{next(iter(members_of(archive()))).partition('/')[0]}/more", _BOMB),
                ]
            ),
            opens=None,
        )
        yield file_of(
            "zip bombs",
            f"a hundred members of 256 MB in a {kind}",
            lambda archive=archive: raw_archive(
                [
                    *(Member(*item) for item in members_of(archive()).items()),
                    *(zeros(_like_weight(archive(), i), 1 << 28) for i in range(100, 200)),
                ]
            ),
            opens=None,
        )
        yield file_of(
            "zip bombs",
            f"a stream that is longer than its size in a {kind}",
            lambda archive=archive: changed(archive(), _weight_of(archive()), _longer_than_stated),
            opens=None,
        )


def _weight_of(archive: bytes) -> str:
    return "weight_0" if any("weight_0" in name for name in members_of(archive)) else "data/0"


def _like_weight(archive: bytes, index: int) -> str:
    name = next(name for name in members_of(archive) if name.endswith(_weight_of(archive)))
    return f"{name[:-1]}{index}"


def _longer_than_stated(name: str) -> Member:
    content, _ = deflated_zeros(_BOMB)
    return Member(name, content, deflated=True, size=144, crc=zlib.crc32(bytes(144)))


class _Storage:
    """Pickled, a tensor of a storage, with any sizes."""

    def __init__(self, sizes: tuple, strides: tuple, offset: int = 0, length: int = 4) -> None:
        self.arguments = sizes, strides, offset
        self.storage = torch.zeros(length).storage()

    def __reduce__(self) -> tuple:
        sizes, strides, offset = self.arguments
        arguments = (self.storage, offset, sizes, strides, False, {})
        return (torch._utils._rebuild_tensor_v2, arguments)


def _lengthened(archive: bytes, before: int, after: int) -> bytes:
    """The pickle with another number in place of a 4-byte one."""
    name = next(name for name in members_of(archive) if name.endswith("data.pkl"))
    old, new = (b"J" + number.to_bytes(4, "little") for number in (before, after))
    return with_content(archive, "data.pkl", members_of(archive)[name].replace(old, new))


def _untrue_sizes() -> Iterator[HostileFile]:
    shapes: dict[str, tuple] = {
        "strides of 0": ((60_000, 50_000), (0, 0)),
        "one stride of 0": ((2_000_000_000, 1), (0, 1)),
        "more than its storage": ((2_000_000_000,), (1,)),
        "an offset after its storage": ((2,), (1,), 2_000_000_000),
        "a negative size": ((-1,), (1,)),
        "a negative stride": ((4,), (-1,)),
        "sizes whose product overflows": ((1 << 31, 1 << 31, 4), (0, 0, 0)),
        "sizes without strides": ((60_000, 50_000), ()),
    }
    for name, arguments in shapes.items():
        for zipped in (True, False):
            yield file_of(
                "sizes in pickles",
                f"{name}, {'archive' if zipped else 'old file'}",
                lambda arguments=arguments, zipped=zipped: saved(
                    {"weight": _Storage(*arguments)}, _use_new_zipfile_serialization=zipped
                ),
            )
    large = torch.zeros(100_003)
    yield file_of(
        "sizes in pickles",
        "a storage of 8 GB with a short record",
        lambda: _lengthened(saved({"weight": large}), 100_003, 2_000_000_000),
    )
    yield file_of(
        "sizes in pickles",
        "a storage of 8 GB with an empty record",
        lambda: with_content(
            _lengthened(saved({"weight": large}), 100_003, 2_000_000_000), "data/0", b""
        ),
    )
    yield file_of(
        "sizes in pickles",
        "a storage of 8 GB in an old file",
        lambda: saved({"weight": large}, _use_new_zipfile_serialization=False).replace(
            (100_003).to_bytes(4, "little"), (2_000_000_000).to_bytes(4, "little")
        ),
    )
    yield from _untrue_weights()


def _untrue_weights() -> Iterator[HostileFile]:
    def weights(**change: object) -> Callable[[], bytes]:
        def make() -> bytes:
            archive, ending = small_program(), "model_weights_config.json"
            name = next(name for name in members_of(archive) if name.endswith(ending))
            config = json.loads(members_of(archive)[name])
            for weight in config["config"].values():
                weight["tensor_meta"].update(change)
            return with_content(archive, ending, json.dumps(config).encode())

        return make

    def numbers(*values: int) -> list[dict[str, int]]:
        return [{"as_int": value} for value in values]

    changes: dict[str, dict] = {
        "strides of 0": {"sizes": numbers(60_000, 50_000), "strides": numbers(0, 0)},
        "more than the member": {"sizes": numbers(60_000, 50_000), "strides": numbers(50_000, 1)},
        "negative": {"sizes": numbers(-5), "strides": numbers(1)},
        "offset": {"storage_offset": {"as_int": _LARGE}},
        "symbolic": {"sizes": [{"as_expr": {"expr_str": "Integer(3000000000)", "hint": None}}]},
        "another type": {"dtype": 8},
        "a type that is unknown": {"dtype": 99},
        "no sizes": {"sizes": []},
    }
    for name, change in changes.items():
        yield file_of("sizes of weights in programs", name, weights(**change))
    yield file_of(
        "sizes of weights in programs",
        "empty members",
        lambda: with_content(small_program(), "weight_0", b""),
    )
    yield file_of(
        "sizes of weights in programs",
        "a thousand names of one weight",
        _shared_weights,
    )


def _shared_weights() -> bytes:
    archive = exported(nn.Sequential(nn.Flatten(), nn.Linear(64, 4000)))
    ending = "model_weights_config.json"
    name = next(name for name in members_of(archive) if name.endswith(ending))
    config = json.loads(members_of(archive)[name])
    weight = config["config"]["1.weight"]
    config["config"].update({f"more.{i}": weight for i in range(1000)})
    return with_content(archive, ending, json.dumps(config).encode())


def _constructors() -> Iterator[HostileFile]:
    """Calls in a program that make a large tensor from numbers."""
    calls: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "arange": lambda x: x + torch.arange(MARKED).sum(),
        "arange of floats": lambda x: x.flatten(1)[:, :1] + torch.arange(0.0, MARKED, 1.0),
        "full": lambda x: x.flatten(1)[:, :1] + torch.full((MARKED,), 2.0),
        "full of rows": lambda x: x.flatten(1)[:, :1, None] + torch.full((1, MARKED, MARKED), 2.0),
        "zeros": lambda x: x.flatten(1)[:, :1] + torch.zeros(MARKED),
        "ones": lambda x: x.flatten(1)[:, :1] * torch.ones(MARKED),
        "new_zeros": lambda x: x.flatten(1)[:, :1] + x.new_zeros(MARKED),
        "new_full": lambda x: x.flatten(1)[:, :1] + x.new_full((MARKED,), 1.0),
        "linspace": lambda x: x.flatten(1)[:, :1] + torch.linspace(0, 1, MARKED),
        "repeat": lambda x: x.flatten(1)[:, :1] + torch.ones(2).repeat(MARKED).sum(),
        "expand": lambda x: x.flatten(1)[:, :1] + torch.ones(1, 1).expand(1, MARKED).clone(),
        "repeat_interleave": lambda x: x + torch.ones(2).repeat_interleave(MARKED).mean(),
        "pad of a constant": lambda x: x + nn.functional.pad(torch.ones(2), (0, MARKED)).mean(),
        "concatenation": lambda x: x + torch.cat([torch.ones(MARKED), torch.ones(MARKED)]).mean(),
        "eye": lambda x: x + torch.eye(MARKED).mean(),
        "scalar_tensor and expand": lambda x: x + torch.tensor(1.0).expand(MARKED, 7).mean(),
    }
    for name, call in calls.items():
        for number in (2_000_000_000, 60_000, 10**15):
            yield file_of(
                "constructors in programs",
                f"{name} of {number:,}",
                lambda call=call, number=number: with_number(exported(Computes(call)), number),
                opens=None,
            )
    bodies = {
        "zeros": "return torch.add(x, torch.sum(torch.zeros([60000, 50000])))",
        "full": "return torch.add(x, torch.sum(torch.full([60000, 50000], 1.5)))",
        "arange": "return torch.add(x, torch.sum(torch.arange(20000000000)))",
        "expand": "return torch.clone(torch.expand(torch.ones([1, 1]), [60000, 50000]))",
        "repeat": "return torch.repeat(x, [1, 60000, 5000, 1])",
        "list": "return torch.add(x, torch.sum(torch.tensor(torch.mul([1], 10000000000))))",
    }
    for name, body in bodies.items():
        yield file_of("constructors in scripts", name, lambda body=body: script_forward([body]))


def _large_networks() -> Iterator[HostileFile]:
    """Networks whose activations are large, though they store few numbers."""
    calls: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "its input": torch.relu,
        "upsampling": lambda x: nn.functional.interpolate(x, scale_factor=float(MARKED)),
        "padding": lambda x: nn.functional.pad(x, (MARKED, 0)),
        "repetition": lambda x: x.repeat(1, MARKED, 1, 1),
        "expansion": lambda x: x[:, :1].expand(1, MARKED, 8, 8) + 1.0,
    }
    for name, call in calls.items():
        shape = (1, MARKED) if name == "its input" else (1, 8, 8)
        yield file_of(
            "large activations",
            f"{name}, in a program",
            lambda call=call, shape=shape: with_number(
                exported(Computes(call), *shape), 400_000_000
            ),
            opens=None,
        )
    layers: dict[str, nn.Module] = {
        "padding of a convolution": nn.Conv2d(1, 1, 1, padding=30_000),
        "upsampling": nn.Upsample(scale_factor=8_000),
        "zero padding": nn.ZeroPad2d(30_000),
        "transposed convolution": nn.ConvTranspose2d(1, 1, 1, stride=10_000),
        "adaptive pooling": nn.AdaptiveAvgPool2d(60_000),
        "dilation": nn.Conv2d(1, 1, 3, dilation=30_000, padding=30_000),
    }
    for name, layer in layers.items():
        yield file_of(
            "large activations",
            f"{name}, in a pickle",
            lambda layer=layer: saved(nn.Sequential(layer, nn.ReLU())),
        )
    yield file_of(
        "large activations",
        "an input of 4 GB by the option",
        lambda: saved(nn.Sequential(nn.ReLU())),
        input_shape=(1, 30_000, 40_000),
    )


class _Calls:
    """Pickled, a call of a class or function."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


def _called_layers() -> Iterator[HostileFile]:
    layers = {
        "Linear": (nn.Linear, 40_000, 40_000),
        "Conv2d": (nn.Conv2d, 10_000, 10_000, 5),
        "Embedding": (nn.Embedding, 1_000_000, 1_000),
        "LSTM": (nn.LSTM, 20_000, 20_000),
        "Bilinear": (nn.Bilinear, 1_000, 1_000, 1_000),
        "Transformer": (nn.Transformer, 4096, 8, 20, 20, 16_384),
        "BatchNorm2d": (nn.BatchNorm2d, _LARGE),
        "PReLU": (nn.PReLU, _LARGE),
        "bytearray": (bytearray, _LARGE),
        "Parameter": (nn.Parameter, None),
        "Tensor": (torch.Tensor, 60_000, 50_000),
        "FloatStorage": (torch.FloatStorage, _LARGE),
        "Size": (torch.Size, (60_000, 50_000)),
    }
    for name, (function, *arguments) in layers.items():
        for zipped in (True, False):
            yield file_of(
                "calls in pickles",
                f"{name}, {'archive' if zipped else 'old file'}",
                lambda f=function, a=arguments, zipped=zipped: saved(
                    {"weight": _Calls(f, *a)}, _use_new_zipfile_serialization=zipped
                ),
            )


def _texts() -> Iterator[HostileFile]:
    def metadata(key: str, text: str) -> Callable[[], bytes]:
        def change(program: dict) -> None:
            for node in program["graph_module"]["graph"]["nodes"]:
                node["metadata"][key] = text

        return lambda: with_program(small_program(), change)

    stack = ";".join(f"L__self___a{i},a.{i},torch.nn.Module" for i in range(100_000))
    yield file_of("long texts", "nn_module_stack of 3 MB", metadata("nn_module_stack", stack))
    yield file_of("long texts", "stack_trace of 10 MB", metadata("stack_trace", "x" * 10_000_000))
    # The compiler does not need this field, and leaves it out.
    yield file_of(
        "long texts", "torch_fn of 10 MB", metadata("torch_fn", "x;y" * 3_000_000), opens=None
    )
    yield file_of(
        "long texts",
        "a member name of 60 KB",
        lambda: with_member(small_program(), "x" * 60_000, b""),
        opens=None,
    )
    yield file_of(
        "long texts",
        "sixty thousand members",
        lambda: raw_archive(
            [
                *(Member(*item) for item in members_of(small_pickle()).items()),
                *(Member(f"archive/more/{i}", b"") for i in range(60_000)),
            ]
        ),
        opens=None,
    )
    yield file_of(
        "long texts",
        "a code of 30 MB",
        lambda: script_forward(["x = torch.relu(x)"] * 1_500_000 + ["return x"]),
    )
    yield file_of(
        "long texts",
        "a state_dict of 100,000 names",
        lambda: saved({f"layer{i}.weight": torch.zeros(1) for i in range(100_000)}),
    )
    yield file_of(
        "long texts", "a layer in a name of 2 MB", lambda: saved({"x" * 2_000_000: torch.zeros(1)})
    )
    yield file_of(
        "long texts",
        "a module in a name of 2 MB",
        lambda: saved(nn.ModuleDict({"x" * 2_000_000: sequential()})),
    )
