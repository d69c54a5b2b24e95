"""PlatformIO's runner for Unity, with the local MiniUnity instead of the registry's Unity."""

from pathlib import Path

from platformio.test.runners.unity import UnityTestRunner


class CustomTestRunner(UnityTestRunner):
    EXTRA_LIB_DEPS = (f"symlink://{Path(__file__).resolve().parents[1]}/MiniUnity",)
