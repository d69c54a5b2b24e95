"""Files of torch.save: a state_dict, a checkpoint that contains one, or a pickled module.

Which of them a file holds is only known after unpickling. Unpickling runs no code from the file:
`pickle_bounds` allows only tensors and plain torch.nn layers, which are made without calling their
constructors, unless the user says that the file is trusted.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepcompress.data.user_code import make_importable
from deepcompress.data.user_code_guard import guarded
from deepcompress.errors import UserError, reason
from deepcompress.frontend.checked_pickle import checked_file, needs_trust
from deepcompress.frontend.file_errors import EXPORT_HINT, cannot_open, where
from deepcompress.frontend.frontend import OPTIONS_OF_FILES, FileSignature
from deepcompress.frontend.open_limits import limits_of
from deepcompress.frontend.state_dict import module_of
from deepcompress.frontend.torch_export import export
from deepcompress.frontend.torch_frontend import torch_frontend
from deepcompress.options import Options

if TYPE_CHECKING:
    import torch

# How a pickle begins that torch.save wrote before it wrote zip archives: its protocol, 2 to 5.
_PICKLE_PROTOCOL = re.compile(rb"\x80[\x02-\x05]")


def _recognizes(signature: FileSignature) -> bool:
    if signature.members is None:
        return _PICKLE_PROTOCOL.match(signature.head) is not None
    return "data.pkl" in signature.members


def open_program(path: Path, options: Options) -> torch.export.ExportedProgram:
    """The program of a file of torch.save, for one input of the option `input_shape`.

    The option `architecture` names the class that builds the network of a state_dict.

    Raises:
        UserError: the file is damaged, its unpickling would run code and the option `trust_pickle`
            is not set, it holds no network, its weights do not fit the architecture, or
            torch.export cannot follow the module.
    """
    module = module_of(_unpickle(path, options), path, options)
    return export(module, path, options)


def _unpickle(path: Path, options: Options) -> Any:
    import torch

    if options.trust_pickle:
        return _unpickle_trusted(path, options.import_seconds)
    checked = checked_file(path, limits_of(options))
    try:
        with torch.serialization.safe_globals(_plain_layers()):
            return torch.load(checked, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _untrusted(path, error) from None
    except Exception as error:  # torch.load raises nearly every type for a damaged file
        raise cannot_open(path, error) from None


def _untrusted(path: Path, error: pickle.UnpicklingError) -> UserError:
    """The class that torch's unpickler refused, without its advice for developers."""
    refused = re.search(r"GLOBAL (\S+) (?:was not an allowed|whose module)", str(error))
    what = "it is damaged, or a pickle that cannot be opened without running what it holds"
    if refused:
        what = f"it holds {refused[1]}, and unpickling that would run code from the file"
    return needs_trust(what, path)


def _unpickle_trusted(path: Path, seconds: int) -> Any:
    """What the file holds. This imports the modules of its classes, which runs them."""
    import torch

    make_importable(path.resolve().parent)
    what = "opening it has run the Python file of its class"
    try:
        with guarded(what, where(path), files=[path, path.parent], seconds=seconds):
            return torch.load(path, map_location="cpu", weights_only=False)
    except UserError:
        raise
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"the class it was saved from is not to be found ({reason(error)})",
            where(path),
            f"Put its module into the project's folder; or save a state_dict; or {EXPORT_HINT}",
        ) from None
    except Exception as error:  # a trusted pickle runs code, which may raise any type
        raise cannot_open(path, error) from None


def _plain_layers() -> list[Any]:
    """Classes of torch.nn and its pruning.

    torch would also call them, with whatever arguments the file has. `check_calls` has refused such
    files: an object is made without its constructor, and its attributes are set.
    """
    import torch
    from torch.nn.utils import prune

    layers = [c for c in vars(torch.nn).values() if isinstance(c, type)]
    methods = [c for c in vars(prune).values() if isinstance(c, type)]
    return [
        set,
        *(c for c in layers if issubclass(c, torch.nn.Module)),
        *(c for c in methods if issubclass(c, prune.BasePruningMethod)),
    ]


FRONTEND = torch_frontend("pickle", _recognizes, open_program, reads=OPTIONS_OF_FILES)
