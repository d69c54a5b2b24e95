"""Error texts that the front ends share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from deepcompress.errors import Result, UserError, guard, reason

EXPORT_HINT = (
    "save it with torch.export: program = torch.export.export(model.eval(), (example,)); "
    "torch.export.save(program, 'model.pt')"
)

QUANTIZE_HINT = (
    "Save the float network, which is quantized here; or quantize it by torchao's prepare_pt2e and "
    "convert_pt2e, whose scales are kept"
)


def where(path: Path) -> str:
    return f"model file {path}"


def attempt(path: Path, action: Callable[[], Result]) -> Result:
    """The action's result. Raises UserError instead of any exception of the file's reader."""
    return guard(action, lambda error: cannot_open(path, error))


def cannot_open(path: Path, error: BaseException) -> UserError:
    return UserError(
        f"torch cannot open it ({reason(error)})",
        where(path),
        "It may be truncated, or saved by a newer torch: copy or save it again",
    )
