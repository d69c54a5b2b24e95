"""The Arduino IDE: its requirements on the library, and a sketch with a compiled model."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from deepcompress.cli.main import main
from torch import nn

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from forward import forwards  # noqa: E402

SKETCH = """\
#include "net.hpp"
DeepCompress::Net network;
float numbers[6] = {1, 2, 3, 4, 5, 6};
void setup() {
  Serial.println(network.selfTest() == DC_OK ? "passed" : "failed");
  Serial.println(network.infer(numbers).label());
}
void loop() {}
"""
# The IDE puts this before the sketch; the rest of the program replaces a core.
ARDUINO = """\
#include <stdio.h>
struct { void println(const char *text) { puts(text); } } Serial;
void setup();
void loop();
int main() { setup(); }
"""


@pytest.fixture
def sketch(tmp_path: Path) -> Path:
    """A sketch's folder with the files of a model as tabs."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    program = torch.export.export(network, (torch.zeros(1, 6),))
    torch.export.save(program, tmp_path / "net.pt")
    data = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)
    np.savez(tmp_path / "data.npz", inputs=data)
    folder = tmp_path / "my sketch"
    command = ["compile", tmp_path / "net.pt", "-o", folder, "--no-runtime", "--self-test", 1]
    command += ["--calibration", tmp_path / "data.npz", "--labels", "left,right"]
    assert main([str(word) for word in command]) == 0
    (folder / "sketch.ino").write_text(SKETCH)
    return folder


def build_as_the_ide_does(sketch: Path, build: Path) -> Path:
    """Builds every C file of a copy of the sketch and of src/, which is the only include folder."""
    for tab in sketch.iterdir():
        shutil.copy(tab, build)
    (build / "sketch.ino.cpp").write_text(ARDUINO + (sketch / "sketch.ino").read_text())
    sources = [build / "sketch.ino.cpp", *build.glob("*.c"), *(ROOT / "src").rglob("*.c")]
    for source in sources:
        tool = ["g++", "-std=gnu++11"] if source.suffix == ".cpp" else ["gcc", "-std=gnu11"]
        flags = ["-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'src'}"]
        command = [*tool, "-Os", *flags, "-c", source, "-o", build / f"{source.name}.o"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    program = build / "program"
    subprocess.run(["g++", *build.glob("*.o"), "-o", program], check=True)
    return program


def test_a_model_compiled_beforehand_builds_as_tabs_of_a_sketch(
    sketch: Path, tmp_path: Path
) -> None:
    build = tmp_path / "build"
    build.mkdir()
    program = build_as_the_ide_does(sketch, build)
    said = subprocess.run([program], capture_output=True, text=True).stdout.split()
    assert said[0] == "passed"
    assert said[1] in ("left", "right")


def test_every_header_is_found_in_src() -> None:
    """If this fails for a new header, run `make docs`."""
    src = ROOT / "src"
    there = {path.relative_to(src).as_posix(): path.read_text() for path in src.rglob("*.h")}
    assert there == forwards()


def test_the_manifest_has_the_fields_that_the_ide_requires() -> None:
    text = (ROOT / "library.properties").read_text()
    fields = dict(line.split("=", 1) for line in text.splitlines())
    required = {"name", "version", "author", "maintainer", "sentence", "paragraph", "category"}
    assert required | {"url", "architectures", "includes"} <= set(fields)
    assert (ROOT / "src" / fields["includes"]).is_file()


def test_the_keywords_are_names_of_the_library() -> None:
    header = (ROOT / "include" / "DeepCompress.h").read_text()
    header += (ROOT / "include" / "deepcompress" / "model.h").read_text()
    for line in (ROOT / "keywords.txt").read_text().splitlines():
        word, kind = line.split("\t")
        assert kind in ("KEYWORD1", "KEYWORD2", "LITERAL1")
        assert re.search(rf"\b{word}\b", header)
