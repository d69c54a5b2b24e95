"""Error texts that the front ends share."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from deepcompress.errors import UserError

Result = TypeVar("Result")

EXPORT_HINT = (
    "save it with torch.export: program = torch.export.export(model.eval(), (example,)); "
    "torch.export.save(program, 'model.pt')"
)

QUANTIZE_HINT = (
    "Save the float network, which is quantized here; or quantize it by torchao's prepare_pt2e and "
    "convert_pt2e, whose scales are kept"
)

_LONGEST_REASON = 160
# How torch, numpy and C++ say that an allocation failed.
_ALLOCATION = re.compile(r"can't allocate memory|[Uu]nable to allocate|bad_alloc|not enough memory")


def where(path: Path) -> str:
    return f"model file {path}"


def attempt(path: Path, action: Callable[[], Result]) -> Result:
    """The action's result. Raises UserError instead of any exception of the file's reader."""
    try:
        return action()
    except UserError:
        raise
    except Exception as error:  # readers of damaged files raise nearly every type of exception
        raise cannot_open(path, error) from None


def cannot_open(path: Path, error: Exception) -> UserError:
    return UserError(
        f"torch cannot open it ({first_line(error)})",
        where(path),
        "It may be truncated, or saved by a newer torch: copy or save it again",
    )


def first_line(error: Exception) -> str:
    """The first line of an exception's text, without its full stop, at most 160 characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:_LONGEST_REASON].rstrip(". ")


def ran_out_of_memory(error: BaseException | None) -> bool:
    """Whether an exception, or one that it replaced, says that an allocation failed."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, MemoryError) or _ALLOCATION.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False
