"""Opens a model file as a float Graph: the table of front ends, and the choice among them.

A new kind of file is one module with a `Frontend`, and a row in `FRONTENDS`.
"""

from __future__ import annotations

import zipfile
from contextlib import nullcontext
from pathlib import Path

from deepcompress.data.observed_files import observed
from deepcompress.errors import UserError, did_you_mean
from deepcompress.frontend import exported_program, pickle_file, safetensors_file, torchscript
from deepcompress.frontend.file_errors import EXPORT_HINT, attempt, where
from deepcompress.frontend.frontend import FileSignature, Frontend, LayerCallback
from deepcompress.frontend.open_limits import check_graph, limits_of
from deepcompress.frontend.unsupported_formats import UNSUPPORTED_FORMATS
from deepcompress.ir.graph import Graph
from deepcompress.ops import OPERATORS
from deepcompress.options import Options

# The first front end that recognizes a file opens it, so the one that needs most is tried first.
# Every TorchScript archive also holds the member by which torch.save's archives are recognized.
# The size at the beginning of a safetensors file may be the two bytes at the beginning of a pickle.
FRONTENDS: tuple[Frontend, ...] = (
    exported_program.FRONTEND,
    torchscript.FRONTEND,
    safetensors_file.FRONTEND,
    *UNSUPPORTED_FORMATS,
    pickle_file.FRONTEND,
)

_HEAD_BYTES = 16


def open_graph(
    path: Path,
    options: Options,
    *,
    name: str,
    layer: LayerCallback = lambda layer: None,
) -> Graph:
    """The float Graph of a model file; no code from the file is run.

    Args:
        path: of the file.
        options: `input_shape` (without the batch), `architecture` and `trust_pickle` are read.
        name: of the model, a C identifier.
        layer: called with each layer, in the order of execution, before any error is raised.

    Raises:
        UserError: the file is missing, damaged, of an unsupported kind, cannot be opened safely, or
            holds an unsupported network.
    """
    frontend = choose_frontend(path)
    runs_users_code = options.architecture or options.trust_pickle
    with observed() if runs_users_code else nullcontext():
        graph = frontend.open(path, options, name=name, layer=layer)
    check_graph(graph, limits_of(options), path)
    if frontend is exported_program.FRONTEND:
        _check_stated_shapes(graph, path)
    return graph


def _check_stated_shapes(graph: Graph, path: Path) -> None:
    """Raises UserError if a layer computes another shape than the program states for it."""
    for node in graph.nodes:
        inputs = [graph.tensors[name].shape for name in node.inputs]
        computed = OPERATORS[node.op].output_shape(node.attributes, inputs)
        stated = graph.tensors[node.output].shape
        if tuple(computed) != tuple(stated):
            raise UserError(
                f"it states the shape {list(stated)} for layer {node.name}, which computes "
                f"{list(computed)}",
                where(path),
                "It is damaged: export the model again",
            )


def choose_frontend(path: Path) -> Frontend:
    """The first front end that recognizes a file. Raises UserError where none does."""
    signature = _signature(path)
    for frontend in FRONTENDS:
        if frontend.recognizes(signature):
            return frontend
    raise _not_recognized(signature)


def _signature(path: Path) -> FileSignature:
    head = _head(path)
    if not head:
        raise UserError("it is empty", where(path), "Save the model again")
    if not attempt(path, lambda: zipfile.is_zipfile(path)):
        return FileSignature(path, head, None)
    names = attempt(path, lambda: zipfile.ZipFile(path).namelist())
    return FileSignature(path, head, tuple(name.partition("/")[2] for name in names))


def _head(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise _missing(path)
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError as error:
        raise UserError(
            f"it cannot be read ({error.strerror})", where(path), "Check its name and permissions"
        ) from None


def _missing(path: Path) -> UserError:
    if path.is_dir():
        return UserError("it is a folder", where(path), "Name the .pt file in it")
    folder = path.parent
    neighbours = [p.name for p in folder.glob("*.pt*")] if folder.is_dir() else []
    return UserError(
        f"there is no such file{did_you_mean(path.name, neighbours)}",
        where(path),
        "Check the path, which is relative to the current folder",
    )


def _not_recognized(signature: FileSignature) -> UserError:
    what = "it is not a PyTorch file"
    if signature.members is not None:
        what = "it is a zip archive, but not one of PyTorch's"
    elif signature.head.startswith(b"PK"):
        return UserError("it is truncated", where(signature.path), "Copy or save it again")
    return UserError(what, where(signature.path), f"To make one, {EXPORT_HINT}")
