"""Files of the safetensors package: tensors by name, which are read as a state_dict.

A safetensors file holds numbers only, so that reading one runs no code from it. The package is an
optional dependency.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from deepcompress.errors import UserError, reason, setting
from deepcompress.frontend.file_errors import EXPORT_HINT, where
from deepcompress.frontend.frontend import FileSignature
from deepcompress.frontend.state_dict import module_of
from deepcompress.frontend.torch_export import export
from deepcompress.frontend.torch_frontend import torch_frontend
from deepcompress.options import Options

if TYPE_CHECKING:
    import torch

# The size of the header, at most 100 MB, in 8 bytes; then the header in JSON.
_MAGIC = re.compile(rb".{4}\0{4}\{", re.DOTALL)


def _recognizes(signature: FileSignature) -> bool:
    return _MAGIC.match(signature.head) is not None


def open_program(path: Path, options: Options) -> torch.export.ExportedProgram:
    """The program of the option `architecture` with the weights of a file.

    Raises:
        UserError: the option or the package is missing, the file is damaged, its weights do not fit
            the architecture, or torch.export cannot follow the module.
    """
    if options.architecture is None:
        raise UserError(
            "it holds weights (safetensors) but not how they are connected",
            where(path),
            "Name the class that builds the network: "
            f"{setting('architecture', 'file.py:Class')}. Or {EXPORT_HINT}",
        )
    module = module_of(_read(path), path, options)
    return export(module.float(), path, options)


def _read(path: Path) -> dict[str, torch.Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise UserError(
            "reading it needs the package safetensors, which this Python does not have",
            where(path),
            f"Install it: {sys.executable} -m pip install safetensors. Or save the weights by "
            "torch.save(model.state_dict(), 'model.pt')",
        ) from None
    try:
        return load_file(path, device="cpu")
    except Exception as error:  # the package maps its own errors and those of the file system
        raise UserError(
            f"the package safetensors cannot open it ({reason(error)})",
            where(path),
            "It may be truncated or damaged: copy or save it again",
        ) from None


_READS = ("input_shape", "architecture", "checkpoint_key")
FRONTEND = torch_frontend("safetensors", _recognizes, open_program, reads=_READS)
