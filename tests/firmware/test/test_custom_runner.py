"""PlatformIO's runner for Unity, with the MiniUnity beside this folder, not the registry's."""

from pathlib import Path

from platformio.test.runners.unity import UnityTestRunner


class CustomTestRunner(UnityTestRunner):
    EXTRA_LIB_DEPS = (f"symlink://{Path(__file__).resolve().parents[1]}/MiniUnity",)
