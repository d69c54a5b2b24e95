"""Model files of other tools: recognized by their first bytes, refused with a way to PyTorch."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NoReturn

from deepcompress.errors import UserError
from deepcompress.frontend.file_errors import EXPORT_HINT, where
from deepcompress.frontend.frontend import FileSignature, Frontend, LayerCallback
from deepcompress.options import Options


def _refuses(name: str, magic: bytes, advice: str) -> Frontend:
    """A front end that recognizes files by a regular expression, and opens none of them.

    Members do not count: a TensorFlow Lite file with metadata has a zip archive at its end.
    """
    pattern = re.compile(magic, re.DOTALL)

    def recognizes(signature: FileSignature) -> bool:
        return pattern.match(signature.head) is not None

    def refuse(path: Path, options: Options, *, name: str, layer: LayerCallback) -> NoReturn:
        raise UserError(f"it is not a PyTorch file but looks like {kind}", where(path), advice)

    kind = name
    return Frontend(name, recognizes, refuse, uses_torch=False)


_FROM_THE_MODEL = f"From the PyTorch model, {EXPORT_HINT}"
_REBUILD = f"Build the same network in PyTorch, copy its weights, and {EXPORT_HINT}"

# ONNX is last: it is recognized by two bytes, with which the files before it may begin too.
UNSUPPORTED_FORMATS = (
    _refuses("Keras", rb"\x89HDF", _REBUILD),
    _refuses("TensorFlow Lite", rb".{4}TFL3", _REBUILD),
    _refuses(
        "ONNX",
        rb"\x08[\x01-\x20]",
        f"{_FROM_THE_MODEL}. Without that model, the package onnx2torch makes one. Install it in a "
        "Python environment of its own, with torch: model = onnx2torch.convert('model.onnx'), and "
        "export that with an example of one input, such as torch.zeros(1, 3, 32, 32)",
    ),
)
