"""The pages' links resolve, and the tests that docs/security.md names exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("docs", "examples", "platforms", "zephyr")
PAGES = sorted(
    page.relative_to(ROOT)
    for page in (*ROOT.glob("*.md"), *(p for f in FOLDERS for p in (ROOT / f).rglob("*.md")))
    if not any(part.startswith(".") for part in page.relative_to(ROOT).parts)  # build folders
)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_to_files_resolve(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / page).read_text())
    folder = (ROOT / page).parent
    assert not [link for link in links if "://" not in link and not (folder / link).exists()]


def test_the_tests_of_the_security_invariants_exist() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "security.md").read_text()))
    sources = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    defined = {name for text in sources for name in re.findall(r"^def (test_\w+)\(", text, re.M)}
    assert len(named) > 10
    assert named <= defined
