"""The Zephyr module: its CMake with a stand-in for Zephyr, and the sample on a real tree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from deepcompress.cli.kconfig import kconfig
from user_project import PLATFORM, ROOT, Project, copy_library

SAMPLE = ROOT / "zephyr" / "samples" / "lenet5"

# The parts of Zephyr that the module uses in a build for the PC.
ZEPHYR = """\
cmake_minimum_required(VERSION 3.20)
project(application C CXX)
set(APPLICATION_SOURCE_DIR ${CMAKE_SOURCE_DIR})
set(USER_CACHE_DIR ${CMAKE_SOURCE_DIR}/cache)
set(CONFIG_ARCH_POSIX y)
add_library(zephyr_interface INTERFACE)
add_executable(app)
target_link_libraries(app PRIVATE zephyr_interface)
macro(zephyr_library_named name)
  set(library ${name})
  add_library(${name} STATIC)
  target_link_libraries(${name} PUBLIC zephyr_interface)
endmacro()
macro(zephyr_library_sources)
  target_sources(${library} PRIVATE ${ARGN})
  set_property(GLOBAL PROPERTY built ${library})
endmacro()
macro(zephyr_include_directories folder)
  get_filename_component(absolute ${folder} ABSOLUTE)
  target_include_directories(zephyr_interface INTERFACE ${absolute})
endmacro()
"""
MAIN = """\
#include <stdio.h>
#include "net.h"
int main(void) { printf("value %d\\n", net_value()); return 0; }
"""
MODEL = "deepcompress_model(app MODEL models/net.pt)"


class Application:
    """A Zephyr application in `folder`, whose Python with torch is the fake compiler."""

    def __init__(self, project: Project, library: Path) -> None:
        self.folder, self.project, self.library = project.folder, project, library
        self.write, self.mood, self.calls = project.write, project.mood, project.calls
        self.write("src/main.c", MAIN)
        self.configure(MODEL)

    def configure(self, text: str, *, config: str = "", main: str = "src/main.c") -> None:
        """Writes CMakeLists.txt: `text` is the application's part, `config` sets Kconfig."""
        self.write(
            "CMakeLists.txt",
            f"{ZEPHYR}set(CONFIG_DEEPCOMPRESS y)\n{config}\n"
            f'set(PYTHON_EXECUTABLE "{sys.executable}")\n'
            f'add_subdirectory("{self.library}/zephyr" deepcompress)\n'
            f"target_sources(app PRIVATE {main})\n{text}\n",
        )

    def cmake(self, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["cmake", *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            env={**os.environ, "DEEPCOMPRESS_PYTHON": str(self.project.python)},
        )

    def build(self, *arguments: str) -> str:
        """Configures and builds, which must succeed; returns the output."""
        configured = self.cmake("-B", "build", *arguments)
        assert configured.returncode == 0, configured.stderr
        built = self.cmake("--build", "build")
        assert built.returncode == 0, built.stdout + built.stderr
        return built.stdout

    def fail(self) -> str:
        """Configures and builds, one of which must fail; returns the output, unwrapped."""
        self.cmake("-B", "build")
        built = self.cmake("-B", "build")
        if built.returncode == 0:
            built = self.cmake("--build", "build")
        assert built.returncode != 0
        assert "Traceback" not in built.stderr
        return " ".join((built.stdout + built.stderr).split())

    def value(self) -> str:
        """The application's output."""
        program = self.folder / "build" / "app"
        return subprocess.run([program], capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="session")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library as a Zephyr module, in a folder with a blank."""
    folder = tmp_path_factory.mktemp("a module") / "deepcompress"
    copy_library(folder)
    shutil.copytree(ROOT / "zephyr", folder / "zephyr")
    return folder


@pytest.fixture
def application(project: Project, module: Path, cmake: None) -> Application:
    """An application that names one model, models/net.pt, a file with the number 7."""
    return Application(project, module)


@pytest.fixture(scope="session")
def cmake() -> None:
    """Skips the test without cmake, but fails in CI."""
    if not shutil.which("cmake"):
        (pytest.fail if os.environ.get("CI") else pytest.skip)("cmake not found; see `make setup`")


def test_a_model_becomes_code_that_the_application_links(application):
    assert "compressing é net.pt" in application.build()
    assert application.value() == "value 7"


def test_nothing_is_compiled_again_if_nothing_has_changed(application):
    application.build()
    assert "deepcompress: net" not in application.build()
    os.utime(application.folder / "models" / "net.pt")
    application.build()
    shutil.rmtree(application.folder / "build")
    application.build()
    assert application.value() == "value 7"
    assert len(application.calls()) == 1


def wait_for_a_later_time() -> None:
    """Make detects only changes with a later time, and file times may be coarse."""
    time.sleep(0.05)


def test_a_changed_model_option_or_file_of_an_option_is_compiled_and_linked(application):
    application.build()
    wait_for_a_later_time()
    application.write("models/net.pt", "8")
    application.build()
    assert application.value() == "value 8"
    application.write("labels.txt", "one")
    application.configure(MODEL.replace(")", " LABELS labels.txt SPARSITY 0.5)"))
    application.build()
    assert application.calls()[-1][-2:] == ["--labels=labels.txt", "--sparsity=0.5"]
    wait_for_a_later_time()
    application.write("labels.txt", "two")
    application.build()
    assert len(application.calls()) == 4


def test_a_file_that_code_of_the_user_read_is_watched(application):
    application.write("data/more/numbers.csv", "1")
    application.mood(f"reading {application.folder}/data/more/numbers.csv")
    application.build()
    wait_for_a_later_time()
    application.write("data/more/numbers.csv", "2")
    application.build()
    assert len(application.calls()) == 2


def test_several_models_have_names_and_options_of_their_own_and_classes_in_cpp(application):
    application.write("models/other.pt", "8")
    application.write(
        "src/main.cpp",
        "#include <DeepCompress.h>\n"
        + MAIN.replace('#include "net.h"\n', "").replace(
            "net_value()", "net_value() + second_value()"
        ),
    )
    application.configure(
        f"{MODEL}\ndeepcompress_model(app MODEL models/other.pt NAME second ENCODING delta)",
        main="src/main.cpp",
    )
    application.build()
    assert application.value() == "value 15"
    options = {call[4]: [word for word in call if "=" in word] for call in application.calls()}
    assert options == {"net": [], "second": ["--encoding=delta"]}


def test_kconfig_may_name_the_model(application):
    application.configure(
        "",
        config='set(CONFIG_DEEPCOMPRESS_MODEL "models/net.pt")\n'
        'set(CONFIG_DEEPCOMPRESS_SPARSITY "")\n'
        'set(CONFIG_DEEPCOMPRESS_ENCODING "delta")\n'
        "set(CONFIG_DEEPCOMPRESS_TRUST_PICKLE y)",
    )
    application.build()
    assert application.value() == "value 7"
    assert application.calls()[0][-2:] == ["--encoding=delta", "--trust-pickle=yes"]


def test_the_boards_numbers_reach_the_compiler(application):
    board = "set(CONFIG_ARCH_POSIX)\nset(CONFIG_FLASH_SIZE 256)\nset(CONFIG_SRAM_SIZE 64)"
    application.configure(MODEL, config=f"{board}\nset(GCC_M_CPU cortex-m33+nodsp)")
    application.build()
    call = application.calls()[0]
    assert call[call.index("--cpu") :] == [
        *("--cpu", "cortex-m33"),
        *("--flash-limit", str(256 << 10)),
        *("--ram-limit", str(64 << 10)),
    ]


# Zephyr's functions that read the devicetree, for a board with 64 KB of RAM and 256 KB of flash.
DEVICETREE = """
function(dt_chosen variable PROPERTY name)
  set(${variable} /memory/${name} PARENT_SCOPE)
endfunction()
function(dt_reg_size variable PATH path)
  set(sizes_/memory/zephyr,flash 262144)
  set(sizes_/memory/zephyr,sram 65536)
  set(${variable} ${sizes_${path}} PARENT_SCOPE)
endfunction()
"""


def test_the_boards_numbers_come_from_the_devicetree_if_kconfig_has_none(application):
    cpu = "set(CONFIG_ARCH_POSIX)\nset(GCC_M_CPU cortex-m4)"
    application.configure(MODEL, config=f"{cpu}\nset(CONFIG_FLASH_SIZE 128)\n{DEVICETREE}")
    application.build()
    call = application.calls()[0]
    assert call[call.index("--cpu") :] == [
        *("--cpu", "cortex-m4"),
        *("--flash-limit", str(128 << 10)),
        *("--ram-limit", str(64 << 10)),
    ]


def test_the_module_does_nothing_in_a_platformio_build(application):
    application.write("src/main.c", "int main(void) { return 0; }\n")
    application.build("-DPIO_PACKAGES_DIR=/somewhere")
    assert not list((application.folder / "build").rglob("*deepcompress*.a"))
    assert application.calls() == []


def test_nothing_is_built_if_kconfig_disables_the_module(application):
    application.write("src/main.c", "int main(void) { return 0; }\n")
    application.configure("", config="set(CONFIG_DEEPCOMPRESS)")
    application.build()
    assert not list((application.folder / "build").rglob("*deepcompress*.a"))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("MODEL models/nett.pt", "there is no model file models/nett.pt (did you mean models/net"),
        ("MODEL models/net.pt SPARSTY 0.5", "there is no option sparsty (did you mean sparsity?)"),
        ("MODEL models/net.pt SPARSITY 1.5", "SPARSITY '1.5' is out of range"),
        ("MODEL models/net.pt SPARSITY", "deepcompress_model(): SPARSITY has no value"),
        ("MODEL models/été.pt", "deepcompress_model(): the file's name, 'été', has letters that C"),
        (
            "MODEL models/net.pt NAME a-b",
            "deepcompress_model(): 'a-b' cannot be a name in C and C++",
        ),
        ("MODEL models/net.pt NAME string", "its header would hide another one, string.h"),
        ("NAME net", "deepcompress_model() needs the model's file: MODEL net.pt"),
    ],
)
def test_a_mistake_is_reported_in_one_paragraph(application, call, message):
    application.configure(f"deepcompress_model(app {call})")
    said = application.fail()
    assert message in said
    assert application.calls() == []


def test_a_model_without_the_module_switched_on_is_reported(application):
    application.configure(MODEL, config="set(CONFIG_DEEPCOMPRESS)")
    assert "deepcompress_model() needs CONFIG_DEEPCOMPRESS=y in prj.conf" in application.fail()


def test_the_compilers_message_is_shown_and_the_next_build_is_correct(application):
    application.mood("mistaken")
    assert "deepcompress: error: net.pt: it is not a network." in application.fail()
    application.mood("well")
    application.build()
    assert application.value() == "value 7"


def test_kconfig_matches_the_table_of_options():
    assert (ROOT / "zephyr" / "Kconfig").read_text() == kconfig()


def test_the_files_that_the_manifest_names_exist():
    manifest = (ROOT / "zephyr" / "module.yml").read_text()
    assert "name: deepcompress\n" in manifest
    for path in ("zephyr", "zephyr/Kconfig", "zephyr/samples"):
        assert f"{path}\n" in manifest
        assert (ROOT / path).exists()
    assert (ROOT / "zephyr" / "CMakeLists.txt").is_file()


SAMPLES = sorted(SAMPLE.parent.glob("*/sample.yaml"))

# Of the keys of a test in sample.yaml, those that we use, with the types that twister takes both in
# Zephyr 3.7 and in 4.x. Lists, because in newer releases a text with several names is one name.
TWISTER_KEYS = {
    "tags": list,
    "platform_allow": list,
    "integration_platforms": list,
    "harness": str,
    "harness_config": dict,
}
CONSOLE_KEYS = {"type": str, "ordered": bool, "regex": list}

# Boards that both have: twister ends with an error if a sample names a board that is not there.
# Zephyr 4.2 removed native_posix; mps3/an547 has had another name since 4.0.
PLATFORMS = {"native_sim/native/64", "qemu_cortex_m3", "mps2/an385", "mps2/an521/cpu0"}

# What the module uses of Zephyr, all of which the trees of 3.3, 3.7 and 4.x have. Look up a name in
# these trees before you add it.
ZEPHYR_API = {
    "APPLICATION_SOURCE_DIR",
    "CONFIG_ARCH_POSIX",
    "GCC_M_CPU",
    "PYTHON_EXECUTABLE",
    "USER_CACHE_DIR",
    "dt_chosen",
    "dt_reg_size",
    "zephyr_include_directories",
    "zephyr_interface",
    "zephyr_library_named",
    "zephyr_library_sources",
}
KCONFIG = {"CONFIG_INIT_STACKS", "CONFIG_THREAD_STACK_INFO"}


def typed(values: dict, types: dict[str, type]) -> bool:
    return all(type(value) is types.get(key) for key, value in values.items())


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.parent.name)
def test_twister_of_zephyr_3_7_and_4_accepts_a_sample(path: Path) -> None:
    described = yaml.safe_load(path.read_text())
    assert set(described) == {"sample", "tests"}
    assert typed(described["sample"], {"name": str, "description": str})
    for name, test in described["tests"].items():
        assert re.fullmatch(r"sample(\.[a-z0-9_]+)+", name)
        assert typed(test, TWISTER_KEYS)
        assert all(type(value) is str for key in ("tags", "platform_allow") for value in test[key])
        assert set(test["platform_allow"]) <= PLATFORMS
        assert set(test["integration_platforms"]) <= set(test["platform_allow"])
        assert test["harness"] == "console"
        assert typed(test["harness_config"], CONSOLE_KEYS)
        assert all(re.compile(regex) for regex in test["harness_config"]["regex"])


def test_every_sample_is_checked() -> None:
    assert [path.parent.name for path in SAMPLES] == ["lenet5", "two_threads"]


def test_the_module_uses_only_what_each_zephyr_has() -> None:
    module = ROOT / "zephyr"
    cmake = "".join(path.read_text() for path in module.glob("*.cmake"))
    cmake += (module / "CMakeLists.txt").read_text()
    code = "\n".join(line.partition("#")[0] for line in cmake.splitlines())
    used = set(re.findall(r"\b(?:zephyr|dt)_\w+|\bCONFIG_(?!DEEPCOMPRESS)\w+", code))
    variables = set(re.findall(r"\$\{([A-Z]\w+)\}", code))
    ours = r"CMAKE_\w+|CONFIG_(DEEPCOMPRESS\w*)?|PIO_PACKAGES_DIR"
    used |= {name for name in variables if not re.fullmatch(ours, name)}
    assert used - {"CONFIG_"} == ZEPHYR_API
    for path in module.glob("samples/*/prj.conf"):
        assert set(re.findall(r"CONFIG_\w+", path.read_text())) <= {"CONFIG_DEEPCOMPRESS", *KCONFIG}


QEMU = ["qemu-system-arm", "-nographic", "-net", "none"]
BOARDS = {
    "native_sim/native/64": ["zephyr/zephyr.exe"],
    "qemu_cortex_m3": [*QEMU, "-M", "lm3s6965evb", "-kernel", "zephyr/zephyr.elf"],
    "mps2/an385": [*QEMU, "-M", "mps2-an385", "-kernel", "zephyr/zephyr.elf"],
}
# Before Zephyr 3.7.
OLD_NAMES = {"native_sim/native/64": "native_posix_64", "mps2/an385": "mps2_an385"}


def name_in_tree(board: str) -> str:
    """A board's name in the tree of $ZEPHYR_BASE."""
    old = not (Path(os.environ["ZEPHYR_BASE"]) / "boards" / "native").is_dir()
    return OLD_NAMES.get(board, board) if old else board


@pytest.fixture(scope="module")
def platformio_output(pio: Callable, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Output of the sample's main.c in a PlatformIO build, on the virtual Cortex-M3."""
    folder = tmp_path_factory.mktemp("pio") / "project"
    shutil.copytree(SAMPLE / "src", folder / "src")
    example = ROOT / "examples" / "lenet5_mnist"
    options = {
        "model": example / "models/lenet5.pt",
        "calibration": example / "data/calibration.npz",
        "labels": example / "data/labels.txt",
        **{"input_mean": 0.1307, "input_std": 0.3081, "sparsity": 0.8, "self_test": 2},
    }
    lines = [f"custom_deepcompress_{name} = {value}" for name, value in options.items()]
    (folder / "platformio.ini").write_text(
        f"[env:virtual_m3]\nplatform = {PLATFORM}\nboard = virtual_m3\n"
        f"lib_deps = symlink://{ROOT}\nbuild_flags = -I{example / 'src'}\n" + "\n".join(lines)
    )
    ran = pio("run", "-t", "upload", cwd=folder)
    assert ran.returncode == 0, ran.stderr
    return printed(ran.stdout.splitlines())


def printed(lines: list[str]) -> list[str]:
    """The lines that the sample itself prints."""
    return [line.strip() for line in lines if line.startswith(("self test", "test image", "11 "))]


needs_zephyr = pytest.mark.skipif(
    not os.environ.get("ZEPHYR_BASE"), reason="no Zephyr tree in $ZEPHYR_BASE"
)


def build_and_run(sample: Path, board: str, folder: Path, *, until: str) -> list[str]:
    """Output of a sample on a board, up to the line with the given start."""
    modules = [f"-D{name}={ROOT}" for name in ("EXTRA_ZEPHYR_MODULES", "ZEPHYR_EXTRA_MODULES")]
    configure = [
        "cmake",
        "-GNinja",
        "-S",
        sample,
        "-B",
        folder,
        f"-DBOARD={name_in_tree(board)}",
        *modules,
    ]
    environment = {**os.environ, "DEEPCOMPRESS_PYTHON": sys.executable}
    for command in (configure, ["cmake", "--build", folder]):
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    said = []
    with subprocess.Popen(  # zephyr.exe does not always end at the first signal
        ["timeout", "--kill-after=2", "60", *BOARDS[board]],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        for line in running.stdout or ():
            said.append(line.strip())
            if line.startswith(until):
                running.terminate()
    return said


@needs_zephyr
@pytest.mark.parametrize("board", BOARDS)
def test_the_sample_prints_the_same_on_a_zephyr_tree_as_in_a_platformio_build(
    board: str, platformio_output: list[str], tmp_path: Path, arm_tools: None
) -> None:
    said = build_and_run(SAMPLE, board, tmp_path / "build", until="11 digits")
    assert printed(said) == platformio_output
    assert platformio_output[0] == "self test: ok"
    assert len(platformio_output) == 13


@needs_zephyr
@pytest.mark.parametrize("board", ["qemu_cortex_m3", "mps2/an385"])
def test_an_inference_that_another_thread_interrupts_gives_the_same_result(
    board: str, tmp_path: Path, arm_tools: None
) -> None:
    said = build_and_run(SAMPLE.with_name("two_threads"), board, tmp_path, until="right: ")
    assert "alone: 7 of 7 exercises right" in said
    left, right = (next(line for line in said if line.startswith(w)) for w in ("left", "right"))
    assert left.startswith("left: 1120 inferences, 0 differ")
    interrupted = re.search(r" inferences, (\d+) interrupted, 0 differ", right)
    assert interrupted, right
    assert int(interrupted[1]) > 100
