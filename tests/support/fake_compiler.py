"""Replaces a Python with torch: records its calls, and "compiles" a .pt that contains a number.

The model `name` gets the C function `name_value()`, which returns the number. The file `mood`
next to this one makes it fail in a chosen way.
"""

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


def main(arguments):
    if arguments[0] == "-c":  # asked which of torch, numpy and jinja2 it lacks
        print([])
    elif arguments[:4] == ["-u", "-m", "deepcompress", "compile"]:
        compile_model(arguments[4:])
    elif arguments[:3] == ["-m", "deepcompress", "profile"]:
        note(arguments[2:])
        sys.exit(3 if (HERE / "mood").read_text() == "mistaken" else 0)
    else:
        sys.exit(f"not the command line of the compiler: {arguments}")


def compile_model(arguments):
    note(arguments)
    mood = (HERE / "mood").read_text()
    model, folder = Path(arguments[0]), Path(arguments[arguments.index("-o") + 1])
    name = arguments[arguments.index("--name") + 1]
    print(f"{name}: compressing é {model.name}", flush=True)
    (folder / f"{name}.h").write_text(
        f'#include <deepcompress/model.h>\n#ifdef __cplusplus\nextern "C"\n#endif\n'
        f"int {name}_value(void);\n"
    )
    if mood == "slow":
        time.sleep(1)
    if mood == "endless":
        from deepcompress.build.parent_process import end_with_parent

        end_with_parent()
        time.sleep(1000)
    if mood == "killed":
        os.kill(os.getppid(), signal.SIGKILL)
        sys.exit(1)
    if mood == "mistaken":
        sys.exit("a warning of torch\ndeepcompress: error: net.pt: it is not\n  a network.")
    if mood == "naming an option":
        spelling = arguments[arguments.index("--spell-options") + 1]
        sys.exit(f"deepcompress: error: options are spelled as in {spelling}.")
    if mood == "crashing":
        raise RuntimeError("no such thing")
    (folder / f"{name}.hpp").write_text(f'#include "{name}.h"\n')
    (folder / f"{name}_weights.h").write_text(f"#define {name.upper()}_VALUE {model.read_text()}\n")
    (folder / f"{name}.c").write_text(
        f'#include "{name}.h"\n#include "{name}_weights.h"\n'
        f"int {name}_value(void) {{ return {name.upper()}_VALUE; }}\n"
    )
    if mood.startswith("reading "):
        path = Path(mood.split()[1])
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        facts = {"files": {str(path): digest}, "packages": {}}
        Path(os.environ["DEEPCOMPRESS_INPUTS"]).write_text(json.dumps(facts))
    if mood == "careless":
        sys.exit(0)
    if mood == "changing the model":
        model.write_text("8")
        (HERE / "mood").write_text("well")
    report = {"name": name, "cycles": 1252, "warnings": ["3 of 4 wheels"]}
    report.update(flash={"total_bytes": 1701}, ram={"total_bytes": 240}, accuracy=None)
    (folder / "report.json").write_text(json.dumps(report))
    (folder / "report.html").write_text(f"<title>{name}</title>\n")


def note(arguments):
    with (HERE / "calls").open("a") as file:
        file.write(json.dumps(arguments) + "\n")


main(sys.argv[1:])
