"""CONTRIBUTING.md is true: its diffs apply to the code, and the files that it names exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "platformio_plugin" / "deepcompress"
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
DIFFS = re.findall(r"^```diff\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
# A file name in a code span: `ops/prelu.py`, or a folder, `tests/frontend/`.
NAMED = sorted(set(re.findall(r"`([\w./-]+(?:\.(?:py|h|md|toml)|/))`", PAGE)))


@pytest.mark.parametrize("diff", DIFFS, ids=range(len(DIFFS)))
def test_a_diff_applies_to_the_code(diff: str) -> None:
    command = ["git", "apply", "--check", "-"]
    done = subprocess.run(command, input=diff, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", NAMED)
def test_a_named_file_exists(name: str) -> None:
    assert (ROOT / name).exists() or (PACKAGE / name).exists()
