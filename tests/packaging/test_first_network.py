"""The commands and files of docs/first_network.md work as printed."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "first_network.md").read_text()


def block(language: str) -> str:
    """The page's only code block in a language."""
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return text.replace("/path/to/DeepCompress", str(ROOT))


@pytest.mark.usefixtures("arm_tools")
def test_the_commands_of_the_page_run_a_network_on_a_virtual_board(
    pio: Callable, tmp_path: Path
) -> None:
    (tmp_path / "train.py").write_text(block("python"))
    trained = subprocess.run(
        [sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    numbers = re.search(r"the first sample: (.*)", trained.stdout).group(1)
    expected = int(re.search(r"its class, by torch: (\d)", trained.stdout).group(1))

    place = "/* the 16 numbers that train.py printed */"
    sketch = block("cpp")
    assert place in sketch
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "main.cpp").write_text(sketch.replace(place, numbers))
    (tmp_path / "platformio.ini").write_text(block("ini"))
    done = pio("run", "-t", "upload", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"class {expected}\n" in done.stdout
    assert re.search(r"accuracy +9\d\.\d\d% int8", done.stdout)
