"""A function or class of the user's, named as file.py:name in an option. Loading runs that file."""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from deepcompress.data.observed_files import observed
from deepcompress.errors import UserError, did_you_mean, guard, reason, setting

# How the file names of stack frames begin that are not the user's: this package, the standard
# library, and generated code such as "<string>".
_OTHER_CODE = (str(Path(__file__).parents[1]), sysconfig.get_path("stdlib"), "<")
_INSTALLED_PACKAGES = {"site-packages", "dist-packages"}


def load_callable(option: str, text: str) -> Callable[..., Any]:
    """The function or class that an option names. This runs the user's file.

    Args:
        option: the option's name, for errors.
        text: its value, "file.py:name".

    Raises:
        UserError: there is no such file or name, or running the file fails.
    """
    where = f"option {setting(option, text)}"
    file, colon, name = text.rpartition(":")
    if not colon:
        raise UserError(
            "it does not name a function or class of the file", where, "Write file.py:name"
        )
    path = Path(file)
    if not path.is_file():
        neighbours = [other.name for other in path.parent.glob("*.py")]
        raise UserError(
            f"there is no such file{did_you_mean(path.name, neighbours)}",
            where,
            "Write file.py:name. The path is relative to the project's folder or, on the command "
            "line, to the current folder",
        )
    namespace = attempt(lambda: _run_file(path), f"running {path}", where, "Fix it")
    if not callable(namespace.get(name)):
        callables = [key for key, value in namespace.items() if callable(value)]
        raise UserError(
            f"{path} has no {name}{did_you_mean(name, callables)}",
            where,
            "Name the class or function in the file",
        )
    return cast("Callable[..., Any]", namespace[name])


def announcement(option: str, text: str) -> str:
    """A line of progress that says which file of the user's is run, and why."""
    file, _, name = text.rpartition(":")
    return f"running {file} for its {name} (option {option})"


def is_python(text: str) -> bool:
    """Whether an option's value names a function or class of a Python file."""
    return text.rpartition(":")[0].endswith(".py") or text.endswith(".py")


def attempt(call: Callable[[], Any], what: str, where: str, do: str) -> Any:
    """The result of the user's code.

    Args:
        what: the call, for errors, such as "Net()".
        where: the option that names the code.
        do: what to do if it fails.

    Raises:
        UserError: the code raised an exception; the text names its type and line.
    """

    def failed(error: BaseException) -> UserError:
        line = user_line(error)
        at = f", {line}" if line else ""
        return UserError(f"{what} failed ({type(error).__name__}: {reason(error)}{at})", where, do)

    with observed():
        return guard(call, failed)


def user_line(error: BaseException) -> str:
    """ "net.py:12": the last line of the user's code in an error's traceback, or an empty text."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(_OTHER_CODE)
        and not _INSTALLED_PACKAGES & set(Path(frame.filename).parts)
    ]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def _run_file(path: Path) -> dict[str, Any]:
    """The names that a Python file defines."""
    spec = importlib.util.spec_from_file_location(f"deepcompress_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Not removed afterwards: functions of the file may import from its folder when they run.
    make_importable(path.resolve().parent)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return vars(module)


def make_importable(folder: Path) -> None:
    """Lets Python find the modules of a folder, and those of the current one after it.

    `python -m` searches the current folder and a console command does not.
    """
    for place in (str(Path.cwd()), str(folder)):
        if place not in sys.path:
            sys.path.insert(0, place)
