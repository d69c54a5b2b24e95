"""Imports between packages follow the order of the table in docs/architecture.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "platformio_plugin" / "deepcompress"


def order() -> list[str]:
    """Names of packages and of modules outside of packages; each may import those before it."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    table = page.partition("| package | contents |")[2].partition("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return [name for cell in cells for name in re.findall(r"`(\w+)(?:/|\.py)`", cell)]


def imported(path: Path) -> Iterator[str]:
    """Packages of this project that a module imports, including imports for type checkers only."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "deepcompress":
            yield from (alias.name for alias in node.names if alias.name in ORDER)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("deepcompress."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            names = (alias.name.split(".") for alias in node.names)
            yield from (name[1] for name in names if name[0] == "deepcompress" and len(name) > 1)


ORDER = order()


def test_the_table_has_every_package() -> None:
    paths = (path for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir())
    names = {path.stem for path in paths if not path.name.startswith("__")}
    assert sorted(ORDER) == sorted(names)


@pytest.mark.parametrize("package", ORDER)
def test_a_package_imports_only_those_before_it(package: str) -> None:
    folder = PACKAGE / package
    modules = folder.rglob("*.py") if folder.is_dir() else [folder.with_suffix(".py")]
    allowed = set(ORDER[: ORDER.index(package) + 1])
    wrong = {f"{path.name} imports {name}" for path in modules for name in imported(path)}
    assert not {line for line in wrong if line.split()[-1] not in allowed}
