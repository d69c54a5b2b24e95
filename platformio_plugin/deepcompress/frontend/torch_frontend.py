"""The front ends whose files PyTorch opens: what they share from an ExportedProgram to a Graph."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from deepcompress.frontend.check_tensor import check_tensor
from deepcompress.frontend.frontend import FileSignature, Frontend, LayerCallback
from deepcompress.frontend.fx_importer import import_graph
from deepcompress.ir.graph import Graph
from deepcompress.options import Options

if TYPE_CHECKING:
    import torch

    OpenProgram = Callable[[Path, Options], torch.export.ExportedProgram]


def torch_frontend(
    name: str,
    recognizes: Callable[[FileSignature], bool],
    open_program: OpenProgram,
    *,
    reads: tuple[str, ...],
) -> Frontend:
    """A front end that opens a file as an ExportedProgram, and imports that.

    Args:
        open_program: path, options -> the network for batches of 1 or of a symbolic size, in aten
            calls that are not decomposed. Parameters and buffers are in `state_dict`, those of
            frozen TorchScript in `constants`. A call's layer is in its meta["nn_module_stack"], its
            line in meta["stack_trace"]; TorchScript has neither, so that only the names of its
            parameters say which layer a call belongs to. The aten calls depend on the file:

                from a Python module or scripted    conv2d, linear, max_pool2d, flatten
                from traced TorchScript             convolution instead of conv2d
                from a program that was decomposed  convolution, addmm of a permuted weight,
                before it was saved                 max_pool2d_with_indices and getitem, view

        reads: the options that may change what is opened.
    """

    def open_file(path: Path, options: Options, *, name: str, layer: LayerCallback) -> Graph:
        with _quiet():
            program = open_program(path, options)
            for tensor, value in {**program.state_dict, **program.constants}.items():
                check_tensor(tensor, value, path)
            return import_graph(program, name=name, stateful=options.stateful, layer=layer)

    return Frontend(name, recognizes, open_file, frozenset(reads))


@contextmanager
def _quiet() -> Iterator[None]:
    """Hides torch's warnings and logs from the user; what matters becomes a UserError."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
