"""Exports an nn.Module as an ExportedProgram, and explains what torch.export cannot follow."""

from __future__ import annotations

import inspect
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING

from deepcompress.data.npz import open_arrays
from deepcompress.data.user_code import user_line
from deepcompress.errors import UserError, guard, reason, setting
from deepcompress.frontend.check_module import check_module
from deepcompress.frontend.file_errors import EXPORT_HINT, where
from deepcompress.options import Options

if TYPE_CHECKING:
    import torch


def export(module: torch.nn.Module, path: Path, options: Options) -> torch.export.ExportedProgram:
    """The program of a module from this file as float32, for one input of `input_shape`.

    Raises:
        UserError: no `input_shape`, the module is damaged or does not accept it, or torch.export
            cannot follow the module.
    """
    import torch

    check_module(module, path)
    module = guard(lambda: module.float().eval(), lambda error: _not_usable(error, path))
    inputs = example_inputs(_required_arguments(module), path, options)
    _check_shape(module, inputs, path, options)
    # torch.export prints the graph it has traced so far before it raises.
    with _running_layers(module, path) as running, redirect_stderr(io.StringIO()):
        return guard(
            lambda: torch.export.export(module, inputs, strict=False),
            lambda error: _not_followed(error, running, path),
        )


def _required_arguments(module: torch.nn.Module) -> list[str]:
    """Names of the tensors that the module's forward must be given."""
    parameters = inspect.signature(module.forward).parameters.values()
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in parameters if p.kind in positional and p.default is p.empty]


def example_inputs(names: Sequence[str], path: Path, options: Options) -> tuple[torch.Tensor, ...]:
    """Zeros for inputs of these names; those of several inputs have the calibration's shapes.

    Raises:
        UserError: the shapes are not known.
    """
    import torch

    if len(names) <= 1:
        return (example_input(path, options),)
    arrays = open_arrays(Path(options.calibration), "calibration") if options.calibration else {}
    if any(name not in arrays for name in names):
        raise UserError(
            f"it has {len(names)} inputs ({', '.join(names)}), whose shapes are not known",
            where(path),
            f"Name {setting('calibration', 'inputs.npz')}, with an array [samples, ...] for each: "
            f"np.savez('inputs.npz', {', '.join(f'{name}=...' for name in names)}). Or, from the "
            f"Python model, {EXPORT_HINT.replace('(example,)', '(example, example)')}",
        )
    return tuple(torch.zeros(1, *arrays[name].shape[1:]) for name in names)


def example_input(path: Path, options: Options) -> torch.Tensor:
    """Zeros [1, *input_shape]. Raises UserError where the option is not set."""
    import torch

    if options.input_shape is None:
        raise UserError(
            "the shape of its input is not known",
            where(path),
            f"Set {setting('input_shape')} (such as 1,32,32, without the batch) or name "
            "calibration data",
        )
    return torch.zeros(1, *options.input_shape)


def shape_text(options: Options) -> str:
    """The option `input_shape` as users write it, such as "1,32,32"."""
    return ",".join(map(str, options.input_shape or ()))


def _check_shape(
    module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], path: Path, options: Options
) -> None:
    """Runs the module once: its own error message is clearer than torch.export's."""
    import torch

    def refused(error: BaseException) -> UserError:
        layer = f"layer {running[-1]}: " if running and running[-1] else ""
        return UserError(
            f"the network does not take an input of {shapes_text(inputs)} ({layer}{reason(error)})",
            where(path),
            f"Set {setting('input_shape')} to the shape of one input, channels first",
        )

    with _running_layers(module, path) as running, torch.no_grad():
        guard(lambda: module(*inputs), refused)


def shapes_text(inputs: Sequence[torch.Tensor]) -> str:
    """The shapes without the batch, such as "1,32,32 and 16"."""
    return " and ".join(",".join(map(str, value.shape[1:])) for value in inputs)


@contextmanager
def _running_layers(module: torch.nn.Module, path: Path) -> Iterator[list[str]]:
    """Names of the layers that are running, innermost last; the raising layer after an error."""
    from torch.nn.modules.module import register_module_forward_hook as after_each
    from torch.nn.modules.module import register_module_forward_pre_hook as before_each

    names = guard(
        lambda: {layer: name for name, layer in module.named_modules()},
        lambda error: _not_usable(error, path),
    )
    running: list[str] = []

    def enter(layer: torch.nn.Module, _: object) -> None:
        running.append(names.get(layer, ""))

    def leave(*_: object) -> None:
        running.pop()

    with before_each(enter), after_each(leave):
        yield running


def _not_usable(error: BaseException, path: Path) -> UserError:
    return UserError(
        f"torch cannot use its modules ({reason(error)})",
        where(path),
        f"Save the network again. To save one, {EXPORT_HINT}",
    )


def _not_followed(error: BaseException, running: list[str], path: Path) -> UserError:
    """An error of torch.export: the layer and line in the user's code, and what to write there."""
    layer, line = running[-1] if running else "", user_line(error)
    at = ", ".join(filter(None, (f"layer {layer}" if layer else "", line)))
    data_dependent = "data-dependent" in reason(error)
    why = "its path depends on the values of a tensor" if data_dependent else reason(error)
    return UserError(
        f"torch.export cannot follow it{f' at {at}' if at else ''} ({why})",
        where(path),
        "A microcontroller runs a fixed graph, without an `if` or loop that depends on data: "
        "compute both ways and add them up, weighted, or decide in the firmware",
    )
