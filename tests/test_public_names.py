"""The public interface of the package: its names, and that unused names import nothing."""

from __future__ import annotations

import subprocess
import sys

import deepcompress
import pytest

PUBLIC = {
    "Compiled",
    "Options",
    "Profile",
    "Reporter",
    "SilentReporter",
    "Target",
    "UserError",
    "__version__",
    "compile_model",
    "profile",
    "prune_model",
}


def test_the_public_names_are_these_and_no_others() -> None:
    assert set(deepcompress.__all__) == PUBLIC == set(dir(deepcompress))


@pytest.mark.parametrize("name", sorted(PUBLIC - {"__version__"}))
def test_a_public_name_is_what_its_module_defines(name: str) -> None:
    value = getattr(deepcompress, name)
    assert value.__name__ == name
    assert value.__module__.startswith("deepcompress.")


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'compile_modle'"):
        _ = deepcompress.compile_modle  # type: ignore[attr-defined]


@pytest.mark.parametrize("use", ["", "deepcompress.Options; deepcompress.UserError"])
def test_names_that_need_the_standard_library_only_load_nothing_else(use: str) -> None:
    program = f"import deepcompress, sys; {use}\nprint(*{{'torch', 'numpy'}} & set(sys.modules))"
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "\n"
