"""Calibration, training and label files that a sound model is compiled with.

Paths in the options are relative to the folder that holds the model.
"""

from __future__ import annotations

import functools
import io
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hostile import HostileFile
from hostile.bad_models import SHAPE, changed_program

SAMPLES = 8
NAN, INF = float("nan"), float("inf")


def _inputs() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((SAMPLES, *SHAPE)).astype(np.float32)


def _with(value: float, dtype: type = np.float32) -> np.ndarray:
    """Inputs of which one is this value."""
    inputs = _inputs().astype(dtype)
    inputs[3, 0, 2, 2] = value
    return inputs


def _npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _zip(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_npy", ".npy"), content)
    return buffer.getvalue()


def _header(text: str) -> bytes:
    """An array file with this header, and no values."""
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def _described(shape: object, descr: str = "<f4") -> bytes:
    return _header(repr({"descr": descr, "fortran_order": False, "shape": shape}) + "\n")


_LABELS = np.arange(SAMPLES) % 3

# What is special about a calibration file -> its content, made when it is written.
_CALIBRATION: Mapping[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "random bytes": lambda: b"\x13\x37" * 500,
    "a text": lambda: b"inputs,labels\n1,2\n",
    "truncated": lambda: _npz(inputs=_inputs())[:900],
    "no arrays": lambda: _npz(),
    "another array": lambda: _npz(images=_inputs()),
    "a member that is no array": lambda: _zip(inputs_npy=b"plain text", labels_npy=b""),
    "a member that is text": lambda: _zip(inputs=b"plain text"),
    "a member next to the arrays": lambda: _zip(inputs_npy=_npy(_inputs()), readme=b"hello"),
    "inputs twice": lambda: _zip(inputs_npy=_npy(_inputs()), inputs=b"text"),
    "a header that is code": lambda: _zip(inputs_npy=_header("__import__('os').abort()\n")),
    "a header that is a list": lambda: _zip(inputs_npy=_header("[1, 2]\n")),
    "a header of 60,000 brackets": lambda: _zip(inputs_npy=_header("(" * 60_000)),
    "a header of an unknown type": lambda: _zip(inputs_npy=_described((4, 1, 8, 8), "<q9")),
    "a header of negative sizes": lambda: _zip(inputs_npy=_described((-4, 1, 8, 8))),
    "a header of large sizes": lambda: _zip(inputs_npy=_described((10**9, 10**9, 8, 8))),
    "a header of 40 GB": lambda: _zip(inputs_npy=_described((10**10, 1, 1, 1))),
    "a header without values": lambda: _zip(inputs_npy=_described((SAMPLES, *SHAPE))),
    "an array of objects": lambda: _npz(inputs=np.array([{}, []], object)),
    "an array of texts": lambda: _npz(inputs=np.array([["a", "b"]])),
    "an array of dates": lambda: _npz(inputs=np.zeros((SAMPLES, *SHAPE), "datetime64[s]")),
    "an array of records": lambda: _npz(inputs=np.zeros((SAMPLES, 1), [("a", "f4"), ("b", "i4")])),
    "complex numbers": lambda: _npz(inputs=_inputs().astype(np.complex64)),
    "bools": lambda: _npz(inputs=_inputs() > 0),
    "int64": lambda: _npz(inputs=_inputs().astype(np.int64)),
    "bytes without a scaling": lambda: _npz(inputs=_inputs().astype(np.uint8)),
    "half": lambda: _npz(inputs=_inputs().astype(np.float16)),
    "long double": lambda: _npz(inputs=_inputs().astype(np.longdouble)),
    "big endian": lambda: _npz(inputs=_inputs().astype(">f4")),
    "Fortran order": lambda: _npz(inputs=np.asfortranarray(_inputs())),
    "no axes": lambda: _npz(inputs=np.float32(1)),
    "one axis": lambda: _npz(inputs=np.ones(8, np.float32)),
    "no samples": lambda: _npz(inputs=_inputs()[:0]),
    "samples without values": lambda: _npz(inputs=_inputs()[..., :0]),
    "fewer axes": lambda: _npz(inputs=_inputs()[:, 0]),
    "another shape": lambda: _npz(inputs=_inputs()[..., :5]),
    "NaN": lambda: _npz(inputs=_with(NAN)),
    "infinity": lambda: _npz(inputs=_with(-INF)),
    "1e20": lambda: _npz(inputs=_with(1e20)),
    "-3e38": lambda: _npz(inputs=_with(-3e38)),
    "1e300 as float64": lambda: _npz(inputs=_with(1e300, np.float64)),
    "1e17": lambda: _npz(inputs=_with(1e17)),
    "all 0": lambda: _npz(inputs=_inputs() * 0),
    "all 1e-45": lambda: _npz(inputs=_inputs() * 0 + np.float32(1e-45)),
    "all equal": lambda: _npz(inputs=_inputs() * 0 + 3),
    "labels of another length": lambda: _npz(inputs=_inputs(), labels=_LABELS[:3]),
    "labels below 0": lambda: _npz(inputs=_inputs(), labels=_LABELS - 1),
    "labels of classes that do not exist": lambda: _npz(inputs=_inputs(), labels=_LABELS + 2**40),
    "labels above int64": lambda: _npz(
        inputs=_inputs(), labels=_LABELS.astype(np.uint64) + np.uint64(2**63)
    ),
    "labels as floats": lambda: _npz(inputs=_inputs(), labels=_LABELS.astype(np.float32)),
    "labels as texts": lambda: _npz(inputs=_inputs(), labels=_LABELS.astype(str)),
    "labels without axes": lambda: _npz(inputs=_inputs(), labels=np.int64(1)),
    "labels as objects": lambda: _npz(inputs=_inputs(), labels=_LABELS.astype(object)),
}

# What is special about a user's function -> its body. It is called with "train" or "validation".
_FUNCTIONS: Mapping[str, str] = {
    "yields nothing": "return iter(())",
    "returns None": "return None",
    "returns a number": "return 3",
    "returns a text": "return 'batches'",
    "returns a dict": "return {'inputs': x, 'labels': y}",
    "returns one batch": "return x, y",
    "yields one value": "yield x",
    "yields three values": "yield x, y, y",
    "yields None": "yield None",
    "yields texts": "yield 'ab'",
    "yields ragged lists": "yield [[1.0], [1.0, 2.0]], [0, 1]",
    "yields NaN": "x[3] = float('nan'); yield x, y",
    "yields infinity": "x[3] = float('inf'); yield x, y",
    "yields 1e20": "x[3] = 1e20; yield x, y",
    "yields 1e300": "yield x.astype('float64') * 1e300, y",
    "yields no samples": "yield x[:0], y[:0]",
    "yields samples without values": "yield x[..., :0], y",
    "yields other shapes": "yield x, y; yield x[..., :4], y",
    "yields labels below 0": "yield x, y - 1",
    "yields labels of float": "yield x, y.astype('float32')",
    "yields labels above int64": "yield x, y.astype('uint64') + numpy.uint64(2**63)",
    "yields labels of 2**40": "yield x, y + 2**40",
    "yields labels without axes": "yield x, y[0]",
    "yields meta tensors": "yield torch.ones(4, 1, 8, 8, device='meta'), y[:4]",
    "yields sparse tensors": "yield torch.ones(40, 1, 8, 8).to_sparse(), y",
    "yields tensors with gradients": "yield torch.ones(40, 1, 8, 8, requires_grad=True), y",
    "yields complex numbers": "yield x.astype('complex64'), y",
    "raises SystemExit": "raise SystemExit(1)",
    "raises GeneratorExit": "raise GeneratorExit",
    "raises StopIteration": "raise StopIteration",
    "raises a BaseException of its own": "raise Stop('now')",
    "raises an exception without a text": "raise Mute",
    "raises after a batch": "yield x, y; raise Stop('later')",
    "is a class that cannot be iterated": "return Mute()",
}

_MODULE = """
import numpy
import torch

class Stop(BaseException):
    pass

class Mute(Exception):
    def __str__(self):
        raise RuntimeError

def batches(part):
    x = numpy.random.default_rng(0).standard_normal((40, 1, 8, 8)).astype('float32')
    y = numpy.arange(40) % 3
    BODY
"""

_LABEL_FILES: Mapping[str, bytes] = {
    "an empty file": b"",
    "blank lines": b"\n\n \n",
    "too few names": b"cat\ndog\n",
    "bytes that are not UTF-8": b"cat\ndog\n\xff\xfe\n",
    "null bytes": b"cat\ndog\n\0\n",
    "UTF-16": "cat\ndog\nfrog\n".encode("utf-16"),
    "a surrogate in UTF-8": b"cat\ndog\n\xed\xa0\x80\n",
    "code": b'*/ int x; /*\n"); system("ls\n??/\n',
    "long names": b"a" * 100_000 + b"\nb\nc\n",
    "control characters": b"\x1b[31m\nb\x07\nc\x02x\x03\n",
}

# What is special about the names in the option itself.
_LABEL_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "a lone surrogate": ("cat", "dog", "\udcff"),
    "a half of a pair": ("\ud83d", "b", "c"),
    "an empty name": ("", "b", "c"),
    "three times the same": ("a", "a", "a"),
}


def _write(name: str, content: Callable[[], bytes], folder: Path) -> Path:
    model = folder / "net.pt2"
    model.write_bytes(changed_program("image", "model.json", lambda program: None))
    (folder / name).write_bytes(content())
    return model


def cases() -> Iterator[HostileFile]:
    """Every data file, calibration files first."""
    for name, content in _CALIBRATION.items():
        write = functools.partial(_write, "data.npz", content)
        yield HostileFile("calibration", name, write, {"calibration": "data.npz"}, opens=None)
    for name, body in _FUNCTIONS.items():
        text = _MODULE.replace("BODY", body).encode()
        write = functools.partial(_write, "data.py", functools.partial(bytes, text))
        yield HostileFile("data functions", name, write, {"data": "data.py:batches"}, opens=None)
    for name, text in _LABEL_FILES.items():
        write = functools.partial(_write, "labels.txt", functools.partial(bytes, text))
        yield HostileFile("labels", name, write, {"labels": "labels.txt"}, opens=None)
    for name, labels in _LABEL_OPTIONS.items():
        write = functools.partial(_write, "unused", bytes)
        yield HostileFile("labels", name, write, {"labels": labels}, opens=None)
