"""Error texts that the front ends share."""

from __future__ import annotations

import re
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

# How torch, numpy and C++ say that an allocation failed.
_ALLOCATION = re.compile(r"can't allocate memory|[Uu]nable to allocate|bad_alloc|not enough memory")


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


def ran_out_of_memory(error: BaseException | None) -> bool:
    """Whether an exception, or one that it replaced, says that an allocation failed."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, MemoryError) or _ALLOCATION.search(reason(error)):
            return True
        error = error.__cause__ or error.__context__
    return False
