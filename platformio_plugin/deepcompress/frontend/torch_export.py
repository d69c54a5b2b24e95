"""What all kinds of `.pt` share: a module becomes an exported program; mistakes are told alike."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepcompress.data.user_code import user_line
from deepcompress.errors import UserError
from deepcompress.options import Options

if TYPE_CHECKING:
    import torch

EXPORT_HINT = (
    "save it with torch.export: program = torch.export.export(model.eval(), (example,)); "
    "torch.export.save(program, 'model.pt')"
)

QUANTIZE_HINT = (
    "Save the float network, which is quantized here; or quantize it by torchao's prepare_pt2e and "
    "convert_pt2e, whose scales are kept"
)


def export(module: torch.nn.Module, path: Path, options: Options) -> torch.export.ExportedProgram:
    import torch

    inputs = example(path, options)
    module = module.eval()
    _check_shape(module, inputs, path, options)
    # torch prints what it had understood until then.
    with _running_layers(module) as running, redirect_stderr(io.StringIO()):
        try:
            return torch.export.export(module, (inputs,), strict=False)
        except Exception as error:
            raise _not_followed(error, running, path) from None


def _not_followed(error: Exception, running: list[str], path: Path) -> UserError:
    """What torch.export met: where in the user's code, and what to write there."""
    layer, line = running[-1] if running else "", user_line(error)
    at = ", ".join(filter(None, (f"layer {layer}" if layer else "", line)))
    of_data = "data-dependent" in str(error)
    why = "its path depends on the values of a tensor" if of_data else first_line(error)
    return UserError(
        f"torch.export cannot follow it{f' at {at}' if at else ''} ({why})",
        where(path),
        "A microcontroller runs a fixed graph, without an `if` or loop that depends on data: "
        "compute both ways and add them up, weighted, or decide in the firmware",
    )


def _check_shape(
    module: torch.nn.Module, inputs: torch.Tensor, path: Path, options: Options
) -> None:
    """Runs the network once: what torch says then is clearer than what torch.export says."""
    import torch

    with _running_layers(module) as running:
        try:
            with torch.no_grad():
                module(inputs)
        except Exception as error:
            layer = f"layer {running[-1]}: " if running and running[-1] else ""
            raise UserError(
                f"the network does not take an input of {shape_text(options)} "
                f"({layer}{first_line(error)})",
                where(path),
                "Set input_shape to the shape of one input, channels first",
            ) from None


@contextmanager
def _running_layers(module: torch.nn.Module) -> Iterator[list[str]]:
    """The names of the layers that are running, the innermost last; after an error, that met it."""
    from torch.nn.modules.module import register_module_forward_hook as after_each
    from torch.nn.modules.module import register_module_forward_pre_hook as before_each

    names = {layer: name for name, layer in module.named_modules()}
    running: list[str] = []

    def enter(layer: torch.nn.Module, _: object) -> None:
        running.append(names.get(layer, ""))

    def leave(*_: object) -> None:
        running.pop()

    with before_each(enter), after_each(leave):
        yield running


def example(path: Path, options: Options) -> torch.Tensor:
    import torch

    if options.input_shape is None:
        raise UserError(
            "the shape of its input is not known",
            where(path),
            "Set input_shape (such as 1,32,32, without the batch) or name calibration data",
        )
    return torch.zeros(1, *options.input_shape)


def shape_text(options: Options) -> str:
    return ",".join(map(str, options.input_shape or ()))


def attempt(path: Path, action: Callable[[], Any]) -> Any:
    try:
        return action()
    except UserError:
        raise
    except Exception as error:
        raise not_whole(path, error) from None


def where(path: Path) -> str:
    return f"model file {path}"


def not_whole(path: Path, error: Exception) -> UserError:
    return UserError(
        f"torch cannot open it ({first_line(error)})",
        where(path),
        "It may be truncated, or saved by a newer torch: copy or save it again",
    )


def first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:160].rstrip(". ")
