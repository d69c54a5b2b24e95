"""Checks a pickle before torch reads it: its nesting, what it calls, and the sizes of its tensors.

A pickle is a program for a stack machine. It is followed here without making any object: numbers
and texts are kept as they are, everything else becomes a `Made` that lists its parts. The opcodes
are those that torch's restricted unpickler knows; others are refused.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, BinaryIO

# torch's C++ reader crashes on some 10,000 levels; nested modules have four levels each.
DEEPEST = 400
MOST_OPCODES = 300_000

# What a pickle of torch.save calls: functions that make tensors and plain values. Constructors of
# layers are not among them, because pickling a module stores its class and its attributes.
_TENSORS = ("torch._utils _rebuild_tensor", "torch._utils _rebuild_tensor_v2")
_ORDERED_DICT = "collections OrderedDict"
_FUNCTIONS = {
    *_TENSORS,
    _ORDERED_DICT,
    "collections Counter",
    "torch Size",
    "torch device",
    "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_sparse_tensor",  # takes a layout, and a tuple of tensors and the shape
    "torch.serialization _get_layout",
    "torch._utils _rebuild_meta_tensor_no_storage",  # has no values
    "torch._utils _rebuild_parameter_with_state",
    "__builtin__ set",
    "builtins set",
}
_LAYER = re.compile(r"torch\.nn\.(?!parameter )[\w.]+ \w+")
_PLAIN_VALUE = re.compile(r"torch [a-z]\w*")  # torch.float32, torch.strided

# Bytes of a number, by the class of a storage; others are opened only if the file is trusted.
_ITEM_BYTES = {
    "DoubleStorage": 8,
    "FloatStorage": 4,
    "HalfStorage": 2,
    "BFloat16Storage": 2,
    "LongStorage": 8,
    "IntStorage": 4,
    "ShortStorage": 2,
    "CharStorage": 1,
    "ByteStorage": 1,
    "BoolStorage": 1,
    "ComplexDoubleStorage": 16,
    "ComplexFloatStorage": 8,
    "QInt8Storage": 1,
    "QUInt8Storage": 1,
    "QInt32Storage": 4,
    "UntypedStorage": 1,
}


_DAMAGED = "it is damaged, or a pickle that cannot be opened without running what it holds"
_STORAGE_PARTS = 5
# Numbers of a tensor that may repeat those of a smaller storage, as expand() makes it.
_MOST_REPEATED = 1 << 16


class Refused(Exception):
    """The pickle does something that this module does not allow."""


class Damaged(Refused):
    """The pickle ends early, or is none."""


class Unsafe(Refused):
    """The pickle may be right, but reading it could run code from the file.

    Attributes:
        name: of the class or function that is not allowed, with dots; or "".
    """

    def __init__(self, what: str, name: str = "") -> None:
        super().__init__(what)
        self.name = name


@dataclass(eq=False)
class Made:
    """An object that the pickle would make.

    Attributes:
        kind: "global", "tuple", "list", "dict", "set", "call", "object" or "storage".
        name: "module name" of a global; of the function of a call, or of an object's class.
        parts: what it was made from, and what was put into it later.
    """

    kind: str
    name: str = ""
    parts: list[Any] = field(default_factory=list)


_MARK = object()


def read_pickle(content: bytes | BinaryIO) -> Made:
    """What a pickle would make.

    Args:
        content: bytes that begin with the pickle; a stream is left after its end.

    Raises:
        Refused: it is damaged, nested too deeply, too long, or has opcodes that torch's restricted
            unpickler does not know.
    """
    machine = _Machine()
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
            if count > MOST_OPCODES:
                raise Refused(f"its pickle has more than {MOST_OPCODES:,} opcodes")
            if opcode.name == "STOP":
                break
            machine.step(opcode.name, argument)
        result = machine.pop()
    except Refused:
        raise
    except Exception as error:  # pickletools and the stack raise several types for damaged files
        raise Damaged(str(error) or type(error).__name__) from None
    _check_depth(machine.made)
    return result if isinstance(result, Made) else Made("tuple", parts=[result])


class _Machine:
    """The stack and the memo of a pickle."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.made: list[Made] = []

    def step(self, name: str, argument: Any) -> None:
        action = _ACTIONS.get(name)
        if action is None:
            raise Unsafe(f"{_DAMAGED} ({name})")
        action(self, argument)

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise Unsafe(_DAMAGED)
        return value

    def pop_to_mark(self) -> list[Any]:
        items: list[Any] = []
        while (value := self.stack.pop()) is not _MARK:
            items.append(value)
        return items[::-1]

    def make(self, kind: str, name: str = "", parts: Sequence[Any] = ()) -> None:
        made = Made(kind, name, list(parts))
        self.made.append(made)
        self.push(made)

    def add(self, parts: Sequence[Any]) -> None:
        """Puts something into the object on top of the stack."""
        target = self.stack[-1]
        if not isinstance(target, Made) or target.kind in ("global", "tuple", "storage"):
            raise Unsafe(_DAMAGED)
        target.parts += parts

    def build(self) -> None:
        """Sets the attributes of the object on top of the stack."""
        state = self.pop()
        target = self.stack[-1]
        is_layer = isinstance(target, Made) and target.kind == "object"
        is_dict = isinstance(target, Made) and target.name == _ORDERED_DICT
        if not is_layer and not is_dict:
            raise Unsafe(_DAMAGED)
        self.add([state])

    def apply(self, kind: str) -> None:
        """Calls a function, or makes an object of a class."""
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, Made) or function.kind != "global":
            name = getattr(function, "name", "")
            raise _runs(name) if name else Unsafe(_DAMAGED)
        if not isinstance(arguments, Made) or arguments.kind != "tuple":
            raise Unsafe(_DAMAGED)
        if kind == "object" and arguments.parts:
            raise _runs(function.name)
        self.make(kind, function.name, arguments.parts)

    def find_storage(self) -> None:
        """A storage, by a tuple of the text "storage", its class, key, location and length."""
        key = self.pop()
        parts = key.parts if isinstance(key, Made) else []
        if len(parts) < _STORAGE_PARTS or parts[0] != "storage":
            raise Unsafe(_DAMAGED)
        self.make("storage", parts=parts)


def _append(machine: _Machine, _: Any) -> None:
    machine.add([machine.pop()])


def _set_item(machine: _Machine, _: Any) -> None:
    value, key = machine.pop(), machine.pop()
    machine.add([key, value])


def _add_to_mark(machine: _Machine, _: Any) -> None:
    machine.add(machine.pop_to_mark())


def _tuple_of(count: int) -> Callable[[_Machine, Any], None]:
    def action(machine: _Machine, _: Any) -> None:
        machine.make("tuple", parts=[machine.pop() for _ in range(count)][::-1])

    return action


def _literal(machine: _Machine, argument: Any) -> None:
    machine.push(argument)


def _constant(value: Any) -> Callable[[_Machine, Any], None]:
    return lambda machine, _: machine.push(value)


def _container(kind: str) -> Callable[[_Machine, Any], None]:
    return lambda machine, _: machine.make(kind)


def _put(machine: _Machine, index: int) -> None:
    machine.memo[index] = machine.stack[-1]


_ACTIONS: Mapping[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda machine, _: None,
    "GLOBAL": lambda machine, name: machine.make("global", name),
    "REDUCE": lambda machine, _: machine.apply("call"),
    "NEWOBJ": lambda machine, _: machine.apply("object"),
    "BUILD": lambda machine, _: machine.build(),
    "APPEND": _append,
    "APPENDS": _add_to_mark,
    "SETITEM": _set_item,
    "SETITEMS": _add_to_mark,
    "MARK": _constant(_MARK),
    "TUPLE": lambda machine, _: machine.make("tuple", parts=machine.pop_to_mark()),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "EMPTY_TUPLE": _container("tuple"),
    "EMPTY_LIST": _container("list"),
    "EMPTY_DICT": _container("dict"),
    "EMPTY_SET": _container("set"),
    "NONE": _constant(None),
    "NEWFALSE": _constant(False),
    "NEWTRUE": _constant(True),
    "BININT": _literal,
    "BININT1": _literal,
    "BININT2": _literal,
    "LONG1": _literal,
    "BINFLOAT": _literal,
    "BINUNICODE": _literal,
    "SHORT_BINSTRING": _literal,
    "BINPERSID": lambda machine, _: machine.find_storage(),
    "BINPUT": _put,
    "LONG_BINPUT": _put,
    "BINGET": lambda machine, index: machine.push(machine.memo[index]),
    "LONG_BINGET": lambda machine, index: machine.push(machine.memo[index]),
}


def _check_depth(made: Sequence[Made]) -> None:
    """Raises Refused if objects contain each other in too many levels. Cycles do not count."""
    levels: dict[int, int] = {}
    for root in made:
        path, entered = [(root, _contained(root))], {id(root)}
        while path and id(root) not in levels:
            current, rest = path[-1]
            child = next((part for part in rest if id(part) not in levels), None)
            if child is None:
                path.pop()
                inner = (levels.get(id(part), 0) for part in _contained(current))
                levels[id(current)] = 1 + max(inner, default=0)
            elif id(child) not in entered:
                path.append((child, _contained(child)))
                entered.add(id(child))
            if max(len(path), levels.get(id(current), 0)) > DEEPEST:
                raise Refused(f"its pickle is nested more than {DEEPEST} levels deep")


def _contained(made: Made) -> Iterator[Made]:
    return (part for part in made.parts if isinstance(part, Made))


def _objects_in(root: Made) -> Iterator[Made]:
    """All objects that a pickle would make, each once."""
    seen, pending = {id(root)}, [root]
    while pending:
        current = pending.pop()
        yield current
        for part in _contained(current):
            if id(part) not in seen:
                seen.add(id(part))
                pending.append(part)


def check_calls(root: Made) -> None:
    """Raises Unsafe if reading a pickle does more than make tensors and set attributes of layers.

    A class or function may be called only where `_FUNCTIONS` lists it, and is nowhere a value:
    a layer may call a value that it holds.
    """
    for made in _objects_in(root):
        if made.kind == "call" and made.name not in _FUNCTIONS:
            raise _runs(made.name)
        if made.kind == "object" and not _LAYER.fullmatch(made.name):
            raise _runs(made.name)
        for part in _contained(made) if made.kind != "storage" else ():
            if part.kind == "global" and not _PLAIN_VALUE.fullmatch(part.name):
                raise _runs(part.name)


def check_tensors(root: Made, records: Mapping[str, int]) -> None:
    """Raises Refused if a tensor is not within its storage, or a storage not within its record.

    torch would allocate what the pickle states.

    Args:
        records: bytes of each record by the key of its storage.
    """
    for made in _objects_in(root):
        if made.kind == "storage":
            _check_storage(made, records)
    check_views(root)


def check_views(root: Made) -> None:
    """Raises Refused if a tensor is not within its storage."""
    for made in _objects_in(root):
        if made.name in _TENSORS and made.kind == "call":
            _check_tensor(made)


def storages_bytes(root: Made) -> int:
    """Bytes of all storages that a pickle names, each once."""
    storages = {made.parts[2]: made for made in _objects_in(root) if made.kind == "storage"}
    return sum(_item_bytes(made) * _count(made.parts[4]) for made in storages.values())


def _check_storage(made: Made, records: Mapping[str, int]) -> None:
    key, needed = str(made.parts[2]), _item_bytes(made) * _count(made.parts[4])
    held = records.get(key, 0)
    if needed > held:
        raise Refused(f"its storage {key[:40]} has {held:,} bytes, and should have {needed:,}")


def _item_bytes(storage: Made) -> int:
    kind = storage.parts[1]
    name = kind.name.split()[-1] if isinstance(kind, Made) else ""
    if name not in _ITEM_BYTES:
        raise Unsafe(_DAMAGED)
    return _ITEM_BYTES[name]


def _check_tensor(made: Made) -> None:
    storage, offset, size, stride = made.parts[:4]
    if not all(isinstance(part, Made) for part in (storage, size, stride)):
        raise Unsafe(_DAMAGED)
    sizes, strides = [_count(n) for n in size.parts], [_count(n) for n in stride.parts]
    check_view(sizes, strides, _count(offset), _count(storage.parts[4]), "a tensor")


def check_view(
    sizes: Sequence[int], strides: Sequence[int], offset: int, stored: int, what: str
) -> None:
    """Raises Refused unless a tensor is within `stored` numbers and repeats none of them."""
    numbers = prod(sizes)
    if len(sizes) != len(strides):
        raise Refused(f"{what} has {len(sizes)} sizes and {len(strides)} strides")
    reaches = offset + sum((n - 1) * step for n, step in zip(sizes, strides, strict=True))
    if numbers and (reaches >= stored or numbers > max(stored, _MOST_REPEATED)):
        raise Refused(f"{what} of shape {list(sizes)} has only {stored:,} stored numbers")


def _count(value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise Unsafe(_DAMAGED)
    return value


def _runs(name: str) -> Unsafe:
    dotted = name.replace(" ", ".")[:80]
    return Unsafe(f"it holds {dotted}, and unpickling that would run code from the file", dotted)
