"""A function or class of the user's, named as file.py:name in an option. Loading runs that file."""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deepcompress.errors import UserError, did_you_mean

_NOT_THE_USERS = (str(Path(__file__).parents[1]), sysconfig.get_path("stdlib"), "<")


def load_callable(option: str, text: str) -> Callable[..., Any]:
    """What `text`, "file.py:name", names. Raises UserError where it is not there or fails.

    Args:
        option: the option's name, for errors.
    """
    place = f"option {option} = {text}"
    file, colon, name = text.rpartition(":")
    if not colon:
        raise UserError("it does not say what of the file", place, "Write file.py:name")
    path = Path(file)
    if not path.is_file():
        neighbours = [other.name for other in path.parent.glob("*.py")]
        raise UserError(
            f"there is no such file{did_you_mean(path.name, neighbours)}",
            place,
            "Write file.py:name, relative to the project",
        )
    namespace = attempt(lambda: _run_file(path), f"running {path}", place, "Mend it")
    if not callable(namespace.get(name)):
        known = [key for key, value in namespace.items() if callable(value)]
        raise UserError(
            f"{path} has no {name}{did_you_mean(name, known)}",
            place,
            "Name the class or function in the file",
        )
    return namespace[name]


def attempt(call: Callable[[], Any], what: str, place: str, do: str) -> Any:
    """What the user's code returns; its exception as a UserError that says where it came from."""
    try:
        return call()
    except (Exception, SystemExit) as error:
        reason, line = (str(error).splitlines() or [""])[0], user_line(error)
        where = f", {line}" if line else ""
        raise UserError(
            f"{what} failed ({type(error).__name__}: {reason}{where})", place, do
        ) from None


def user_line(error: BaseException) -> str:
    """ "net.py:12" of the user's code, the last that led to the error, or an empty text."""
    lines = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(_NOT_THE_USERS)
        and not {"site-packages", "dist-packages"} & set(Path(frame.filename).parts)
    ]
    return f"{Path(lines[-1].filename).name}:{lines[-1].lineno}" if lines else ""


def _run_file(path: Path) -> dict[str, Any]:
    spec = importlib.util.spec_from_file_location(f"deepcompress_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # It stays: what the file imports later, while it runs, lies beside it too.
    sys.path.insert(0, str(path.resolve().parent))
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return vars(module)
