"""Compiles the models of a PlatformIO, Zephyr or CMake project as part of its build.

The build tool's own Python runs this package and extra_script.py. That Python may be as old as
`OLDEST_PYTHON` and need not have torch or numpy: the package imports only the standard library and
deepcompress.errors, file_lock, options, target and versions. tests/build/test_oldest_python.py
checks both.
"""

OLDEST_PLATFORMIO = (6, 1)
OLDEST_PYTHON = (3, 9)  # what PlatformIO 6.2 requires; 6.1 also starts on older ones


def complaint_about_python(version: "tuple[int, ...]") -> "str | None":
    """The error to show when the build tool runs on Python `version`; None if it is new enough.

    Args:
        version: sys.version_info[:2].
    """
    if version >= OLDEST_PYTHON:
        return None
    return (
        "deepcompress: error: the build tool runs on Python {}.{}, and DeepCompress needs Python "
        "{}.{} or newer. Install PlatformIO or west with a newer Python."
    ).format(*version, *OLDEST_PYTHON)


def complaint_about_platformio(version: str) -> "str | None":
    """The error to show in a PlatformIO of this version, "6.0.2"; None if it is new enough."""
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if not numbers or numbers >= OLDEST_PLATFORMIO:
        return None
    return (
        "deepcompress: error: this is PlatformIO {}, and DeepCompress needs {}.{} or newer. "
        "Upgrade it: pio upgrade, or pip install --upgrade platformio."
    ).format(version, *OLDEST_PLATFORMIO)
