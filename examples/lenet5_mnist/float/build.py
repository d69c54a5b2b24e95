"""PlatformIO script that writes the float network's weights as a C header to the build folder.

`weights.py` needs a Python with torch: $DEEPCOMPRESS_PYTHON, or else the one PlatformIO runs in.
"""

# ruff: noqa: F821  SCons gives Import and env
import os
import subprocess
import sys
from pathlib import Path

Import("env")

project = Path(env.subst("$PROJECT_DIR"))
model = project / "models" / "lenet5.pt"
header = Path(env.subst("$BUILD_DIR"), "generated", "lenet5_float_weights.h")
env.Append(CPPPATH=[str(header.parent)])

if not header.is_file() or header.stat().st_mtime < model.stat().st_mtime:
    header.parent.mkdir(parents=True, exist_ok=True)
    python = os.environ.get("DEEPCOMPRESS_PYTHON") or env.subst("$PYTHONEXE")
    script = project / "float" / "weights.py"
    if subprocess.run([python, script, model, header]).returncode:
        sys.stderr.write(f"float/build.py: error: {python} could not read {model}\n")
        env.Exit(1)
