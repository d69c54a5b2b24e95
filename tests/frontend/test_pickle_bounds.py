"""What a pickle would do is known before torch reads it: nesting, calls, and sizes of tensors."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch
from deepcompress.frontend.pickle_bounds import (
    DEEPEST,
    MOST_OPCODES,
    Damaged,
    Refused,
    Unsafe,
    check_calls,
    check_tensors,
    read_pickle,
    storages_bytes,
)
from hostile.archives import members_of, saved
from torch import nn
from torch.nn.utils import prune


def pickle_of(content: object) -> tuple[bytes, dict[str, int]]:
    """The pickle of what torch saves, and the bytes of its storages."""
    members = members_of(saved(content))
    records = {
        name.rpartition("/")[2]: len(data) for name, data in members.items() if "/data/" in name
    }
    return next(data for name, data in members.items() if name.endswith("data.pkl")), records


def pruned() -> nn.Module:
    layer = nn.Linear(4, 3)
    prune.l1_unstructured(layer, "weight", 0.5)
    return layer


PLAIN: dict[str, Callable[[], object]] = {
    "a layer": lambda: nn.Conv2d(1, 2, 3),
    "a network": lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.GRU(2, 3)),
    "a pruned layer": pruned,
    "a state_dict": lambda: nn.Linear(4, 3).state_dict(),
    "a checkpoint": lambda: {
        "model": nn.Linear(4, 3).state_dict(),
        "optimizer": torch.optim.Adam(nn.Linear(4, 3).parameters()).state_dict(),
        "epoch": 3,
        "loss": 0.25,
        "shape": torch.Size([1, 2]),
        "type": torch.float16,
        "best": None,
    },
    "views of one storage": lambda: list(torch.zeros(4, 3).unbind()),
    "a transposed tensor": lambda: torch.zeros(4, 3).t(),
    "an expanded tensor": lambda: torch.zeros(1).expand(10),
    "an empty tensor": lambda: torch.zeros(0, 3),
    "half precision": lambda: [torch.zeros(3, dtype=torch.bfloat16), torch.zeros(3).half()],
}


@pytest.mark.parametrize("case", PLAIN)
def test_what_torch_saves_passes(case: str) -> None:
    content, records = pickle_of(PLAIN[case]())
    root = read_pickle(content)
    check_calls(root)
    check_tensors(root, records)
    assert storages_bytes(root) == sum(records.values())


class Called:
    """Pickled, a call."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


CALLS = {
    "torch.nn.modules.linear.Linear": (nn.Linear, 40_000, 40_000),
    "torch.nn.modules.sparse.Embedding": (nn.Embedding, 10, 10),
    "torch.nn.parameter.Parameter": (nn.Parameter, 1),
    "torch._utils._rebuild_qtensor": (torch._utils._rebuild_qtensor, 1),
    "__builtin__.bytearray": (bytearray, 3_000_000_000),
    "__builtin__.eval": (eval, "1"),
    "torch.FloatStorage": (torch.FloatStorage, 3),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_layer_is_never_called(name: str) -> None:
    function, *arguments = CALLS[name]
    content = pickle.dumps({"weight": Called(function, *arguments)}, protocol=2)
    with pytest.raises(Unsafe, match=f"it holds {name}, and unpickling that would run code"):
        check_calls(read_pickle(content))


def test_the_result_of_a_call_is_not_called() -> None:
    content = b"\x80\x02c__builtin__\ngetattr\nK\x01K\x02\x86RK\x03\x85R."
    with pytest.raises(Unsafe, match=r"holds __builtin__\.getattr, and unpickling that would run"):
        read_pickle(content)


def test_a_layer_is_not_made_with_arguments() -> None:
    content = b"\x80\x02ctorch.nn.modules.linear\nLinear\nK\x04K\x03\x86\x81."
    with pytest.raises(Unsafe, match=r"holds torch\.nn\.modules\.linear\.Linear"):
        read_pickle(content)


@pytest.mark.parametrize("value", [nn.Linear, torch._utils._rebuild_tensor_v2, len, nn.Parameter])
def test_no_attribute_is_a_class_or_function(value: object) -> None:
    layer = nn.ReLU()
    layer.__dict__["forward"] = value
    with pytest.raises(Unsafe, match="unpickling that would run code"):
        check_calls(read_pickle(pickle.dumps(layer, protocol=2)))


def test_nothing_is_built_that_is_not_a_layer_or_dictionary() -> None:
    tensor = b"ctorch._utils\n_rebuild_tensor\n)R"
    with pytest.raises(Unsafe):
        read_pickle(b"\x80\x02" + tensor + b")b.")


@pytest.mark.parametrize(
    "opcodes", [b"", b".", b"0.", b"(.", b"t.", b"h\x00.", b"a.", b"R.", b"\xff"]
)
def test_a_damaged_pickle_is_refused(opcodes: bytes) -> None:
    with pytest.raises((Damaged, Unsafe)):
        read_pickle(b"\x80\x02" + opcodes)


@pytest.mark.parametrize("protocol", [0, 4, 5])
def test_other_protocols_are_refused(protocol: int) -> None:
    with pytest.raises(Unsafe):
        read_pickle(pickle.dumps({"a": [1]}, protocol=protocol))


def test_the_nesting_is_that_of_the_objects() -> None:
    nested: object = 1
    for _ in range(DEEPEST):
        nested = [nested]
    assert read_pickle(pickle.dumps(nested, protocol=2)).kind == "list"
    with pytest.raises(Refused, match=f"more than {DEEPEST} levels"):
        read_pickle(pickle.dumps((nested,), protocol=2))


def test_what_contains_itself_ends() -> None:
    cycle: list = []
    cycle.append(OrderedDict(a=cycle))
    check_calls(read_pickle(pickle.dumps(cycle, protocol=2)))


def test_a_long_pickle_is_refused() -> None:
    with pytest.raises(Refused, match=f"more than {MOST_OPCODES:,} opcodes"):
        read_pickle(b"\x80\x02" + b"N" * (MOST_OPCODES + 1) + b".")


def test_a_stream_is_left_after_the_pickle() -> None:
    stream = io.BytesIO(pickle.dumps([1], protocol=2) + pickle.dumps({2: 3}, protocol=2) + b"rest")
    assert [read_pickle(stream).kind, read_pickle(stream).kind] == ["list", "dict"]
    assert stream.read() == b"rest"


def tensor(sizes: tuple, strides: tuple, offset: int = 0) -> object:
    arguments = (torch.zeros(6).storage(), offset, sizes, strides, False, OrderedDict())
    return Called(torch._utils._rebuild_tensor_v2, *arguments)


BAD = {
    "strides of 0": tensor((60_000, 50_000), (0, 0)),
    "more than the storage": tensor((7,), (1,)),
    "an offset": tensor((3,), (1,), 4),
    "a step": tensor((4,), (2,)),
    "a negative size": tensor((-1,), (1,)),
    "a negative stride": tensor((2,), (-1,)),
    "fewer strides": tensor((2, 2), (1,)),
    "a product of 2**64": tensor((1 << 16, 1 << 16, 1 << 16, 1 << 16), (0, 0, 0, 0)),
}


@pytest.mark.parametrize("case", BAD)
def test_a_tensor_that_is_not_within_its_storage_is_refused(case: str) -> None:
    content, records = pickle_of(BAD[case])
    with pytest.raises(Refused):
        check_tensors(read_pickle(content), records)


def test_a_storage_is_not_longer_than_its_record() -> None:
    content, records = pickle_of(torch.zeros(6))
    check_tensors(read_pickle(content), {"0": 24})
    for held in ({"0": 23}, {}):
        with pytest.raises(Refused, match=r"its storage 0 has .* bytes, and should have 24"):
            check_tensors(read_pickle(content), held)
    assert records == {"0": 24}
