"""The library as it is published, and PlatformIO with the real compiler."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import deepcompress
import pytest
from user_project import ROOT

EXAMPLE = ROOT / "examples" / "lenet5_mnist"


def test_the_version_is_the_same_in_all_files():
    manifest = json.loads((ROOT / "library.json").read_text())
    assert manifest["version"] == deepcompress.__version__
    version = f'"{deepcompress.__version__}"\n'
    assert f"\nversion = {version}" in (ROOT / "pyproject.toml").read_text()
    model = (ROOT / "include" / "deepcompress" / "model.h").read_text()
    assert f"#define DEEPCOMPRESS_VERSION {version}" in model
    properties = (ROOT / "library.properties").read_text()
    assert f"\nversion={deepcompress.__version__}\n" in properties


@pytest.fixture(scope="session")
def package(pio, tmp_path_factory) -> Path:
    """The archive that `pio pkg pack` makes of this repository."""
    folder = tmp_path_factory.mktemp("pack")
    source = folder / "source"
    ignored = shutil.ignore_patterns(".*", "tests", "mnist")
    shutil.copytree(ROOT, source, ignore=ignored)
    manifest = json.loads((source / "library.json").read_text())
    del manifest["license"]  # PlatformIO downloads a list to check it
    (source / "library.json").write_text(json.dumps(manifest))
    packed = pio("pkg", "pack", source, "-o", folder / "package.tar.gz", cwd=folder)
    assert packed.returncode == 0, packed.stderr
    return folder / "package.tar.gz"


def test_the_package_contains_only_what_users_need(package, library):
    with tarfile.open(package) as content:
        names = set(content.getnames())
    for path in library.rglob("*"):
        assert path.is_dir() or str(path.relative_to(library)) in names
    assert "examples/lenet5_mnist/models/lenet5.pt" in names
    assert not any("__pycache__" in name or "egg-info" in name for name in names)
    assert not any(name.startswith(("tests", "tools", "benchmarks")) for name in names)


def test_the_package_unpacked_into_an_empty_projects_lib_builds(real_project, package):
    with tarfile.open(package) as content:
        content.extractall(real_project.folder / "lib" / "DeepCompress", filter="data")
    ini = (real_project.folder / "platformio.ini").read_text()
    real_project.write("platformio.ini", ini.replace(f"lib_deps = {real_project.library}\n", ""))
    real_project.build()
    assert real_project.value() == "10 scores, self test passed"


SKETCH = """\
#include <DeepCompress.h>
#include <stdio.h>
DeepCompress::Lenet5 network;
static const uint8_t black[32][32] = {};
int main() {
    const char *test = network.selfTest() == DC_OK ? "passed" : "failed";
    printf("%d scores, self test %s\\n", network.infer(black).size(), test);
}
"""
TEST = """\
#include <DeepCompress.h>
#include <unity.h>
extern "C" void setUp() {}
extern "C" void tearDown() {}
void test_value() { TEST_ASSERT_TRUE(net_value() == 7); }
int main() {
    UNITY_BEGIN();
    RUN_TEST(test_value);
    UNITY_END();
}
"""
REAL = f"""\
custom_deepcompress_model = {EXAMPLE / "models" / "lenet5.pt"}
custom_deepcompress_calibration = {EXAMPLE / "data" / "calibration.npz"}
custom_deepcompress_input_mean = 0.1307
custom_deepcompress_input_std = 0.3081
custom_deepcompress_self_test = 1
"""


@pytest.fixture
def real_project(project):
    """A project whose Python with torch is PlatformIO's own."""
    project.write("src/main.cpp", SKETCH)
    project.configure(REAL)
    ini = (project.folder / "platformio.ini").read_text()
    project.write("platformio.ini", ini.replace("custom_deepcompress_python = fake/python\n", ""))
    return project


def test_a_pt_file_becomes_firmware(real_project, library):
    before = set(library.rglob("*"))
    output = real_project.build()
    assert set(library.rglob("*")) == before
    assert "conv1" in output
    assert "weights" in output
    assert real_project.value() == "10 scores, self test passed"


STRICT = (
    "-flto -fshort-enums -funsigned-char -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion "
    "-Wshadow -Wundef -Wdouble-promotion -Wcast-align=strict -Werror"
)


def test_a_firmware_builds_by_strict_standards_without_warnings_and_with_lto(
    real_project, arm_tools
):
    unflags = "-std=gnu++11 -std=gnu++14 -std=gnu++17"
    flags = f"build_flags = -std=c99 -std=c++20 {STRICT}\nbuild_unflags = {unflags}"
    real_project.configure(f"{REAL}{flags}")
    ini = (real_project.folder / "platformio.ini").read_text()
    ini = ini.replace("custom_deepcompress_python = fake/python\n", "")
    real_project.write("platformio.ini", ini.replace("virtual_native", "virtual_m4"))
    ran = real_project.pio("run", "-t", "upload")
    assert ran.returncode == 0, ran.stderr
    assert "warning:" not in ran.stderr
    assert "10 scores, self test passed" in ran.stdout


def test_a_file_that_is_no_model_is_reported_in_one_paragraph(real_project):
    real_project.write("models/lenet5.pt", "")
    ini = (real_project.folder / "platformio.ini").read_text()
    broken = ini.replace(str(EXAMPLE / "models" / "lenet5.pt"), "models/lenet5.pt")
    real_project.write("platformio.ini", broken)
    said = real_project.fail()
    assert said.startswith("deepcompress: error: model file models/lenet5.pt: it is empty.")
    assert not any(real_project.cache().glob("*/"))


def test_pio_test_builds_with_the_models(project):
    runner = ROOT / "tests" / "firmware" / "test" / "test_custom_runner.py"
    (project.folder / "test").mkdir()
    (project.folder / "test" / runner.name).symlink_to(runner)  # finds Unity next to it
    project.write("test/test_net/main.cpp", TEST)
    project.configure("custom_deepcompress_model = models/net.pt\ntest_framework = custom")
    tested = project.pio("test")
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "1 test cases: 1 succeeded" in tested.stdout
