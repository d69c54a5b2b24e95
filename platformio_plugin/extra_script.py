"""PlatformIO's face: the models named in platformio.ini become an archive the firmware links.

SCons runs this once for every library folder in which it finds DeepCompress, also for a project
that uses none of it, and when an IDE indexes. It must then do nothing, or nothing twice, quickly.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

Import("env", "pio_lib_builder")

LIBRARY = Path(pio_lib_builder.path)
PLUGIN = LIBRARY / "platformio_plugin"
sys.path.insert(0, str(PLUGIN))

from deepcompress import __version__
from deepcompress.cache import fetch, key_of, mirror
from deepcompress.errors import UserError, did_you_mean, draw
from deepcompress.ini import read_models
from deepcompress.interpreter import clean_environment, find_python
from platformio.package.lockfile import LockFile
from SCons.Script import DefaultEnvironment

PROJECT = Path(env.subst("$PROJECT_DIR"))
VERBOSE = int(ARGUMENTS.get("PIOVERBOSE", 0))
# Options that name files, whose contents decide the result.
FILE_OPTIONS = ("calibration", "labels", "architecture")


def target_flags():
    """The board, from its manifest, as flags of the command line."""
    if "BOARD" not in env:
        return ["--cpu", "host"]
    board = env.BoardConfig()
    numbers = {
        "--flash-limit": board.get("upload.maximum_size", 0),
        "--ram-limit": board.get("upload.maximum_ram_size", 0),
        "--clock-hz": str(board.get("build.f_cpu", 0)).rstrip("UL"),
    }
    flags = ["--cpu", board.get("build.cpu", "host")]
    for flag, number in numbers.items():
        flags += [flag, str(int(number))] if int(number or 0) else []
    return flags


def inputs_of(model):
    """The files that decide a model's code: its own, those its options name, the compiler's."""
    files = [PROJECT / model.path]
    for name in FILE_OPTIONS:
        text = model.texts.get(name, "").strip()
        path = PROJECT / (text.rpartition(":")[0] if name == "architecture" else text)
        if text and path.is_file():
            # An architecture may import its neighbours.
            files += path.parent.glob("*.py") if name == "architecture" else [path]
    compiler = PLUGIN / "deepcompress"
    return files + [p for p in compiler.rglob("*") if p.suffix in (".py", ".j2")]


def compile_model(model, flags, folder):
    """Runs the compiler in a Python that has torch; its progress appears line by line."""
    python = find_python(
        model.texts.get("python", "").strip() or None,
        project=PROJECT,
        own=env.subst("$PYTHONEXE"),
        environment=os.environ,
    )
    command = [python, "-u", "-m", "deepcompress", "compile", model.path, "-o", str(folder)]
    command += ["--name", model.name, *flags, *(["--verbose"] if VERBOSE else [])]
    for name, text in model.texts.items():
        if text.strip() and name != "python":
            command.append(f"--{name.replace('_', '-')}={text.strip()}")
    environment = {
        **clean_environment(os.environ),
        "PYTHONPATH": str(PLUGIN),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONIOENCODING": "utf-8",
    }
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as complaints:
        process = subprocess.Popen(
            command,
            cwd=str(PROJECT),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            encoding="utf-8",
            errors="replace",
        )
        for line in process.stdout:
            print(line.rstrip(), flush=True)
        if process.wait():
            complaints.seek(0)
            raise Failed(complaints.read().strip())


class Failed(Exception):
    """The compiler said why."""


def generate(models):
    """The folder with all models' sources, each compiled or taken from the cache."""
    flags = target_flags()
    store = Path(env.subst("$PROJECT_WORKSPACE_DIR")) / "deepcompress"
    store.mkdir(parents=True, exist_ok=True)
    contents, umbrella = {}, []
    for model in models:
        started = time.perf_counter()
        key = key_of(inputs_of(model), [__version__, model.name, dict(model.texts), flags])
        with LockFile(str(store / "compile"), timeout=3600):
            made = fetch(
                store, key, lambda folder, model=model: compile_model(model, flags, folder)
            )
            files = {p.name: p.read_bytes() for p in made.iterdir() if p.name != "report.json"}
        contents.update(files)
        umbrella.append(f'#include "{model.name}.hpp"\n')
        if VERBOSE:
            spent = 1e3 * (time.perf_counter() - started)
            print(f"deepcompress: {model.name} ready in {spent:.0f} ms", flush=True)
    contents["DeepCompressModels.h"] = "".join(umbrella).encode()
    generated = Path(env.subst("$BUILD_DIR")) / "deepcompress" / "generated"
    mirror(contents, generated)
    return generated


def build_archive(models, generated):
    """The generated sources as an archive of their own, optimised whatever the framework does."""
    kernels = env.Clone()
    small = all(m.texts.get("optimize", "").strip().lower() == "size" for m in models)
    for variable in ("CCFLAGS", "CFLAGS"):
        flags = [f for f in kernels.get(variable, []) if not str(f).startswith("-O")]
        kernels[variable] = flags
    kernels.Append(CCFLAGS=["-Os" if small else "-O2"])
    kernels.Prepend(CPPPATH=[str(generated), str(LIBRARY / "include")])
    return kernels.BuildLibrary("$BUILD_DIR/deepcompress/models", str(generated))


def stop(text):
    """Shows an error and ends the build; an IDE that is indexing goes on without the models."""
    sys.stderr.write(f"\n{text}\n\n")
    sys.stderr.flush()
    if not env.IsIntegrationDump():
        env.Exit(1)


def build_models():
    """(folder of the headers, archive), or None where no model is named or an IDE indexes."""
    where = f"platformio.ini [env:{env['PIOENV']}]"
    try:
        models = read_models(dict(env.GetProjectOptions()), where=where)
        if not models:
            return None
        for model in models:
            check_model_file(model, where)
        generated = generate(models)
    except UserError as error:
        return stop(draw(error))
    except Failed as error:
        return stop(str(error))
    except OSError as error:
        place = error.filename or "the build folder"
        what = f"it cannot be written ({error.strerror or error})"
        return stop(draw(UserError(what, str(place), "Make room, or mend its permissions")))
    return generated, build_archive(models, generated)


def check_model_file(model, where):
    """Said here, before a Python with torch is looked for."""
    if (PROJECT / model.path).is_file():
        return
    found = [p for p in PROJECT.glob("**/*.pt*") if ".pio" not in p.parts]
    near = [p.relative_to(PROJECT).as_posix() for p in found]
    holds = f"; it holds {', '.join(near[:5])}" if near else ""
    raise UserError(
        f"there is no model file {model.path}{did_you_mean(model.path, near)}",
        where,
        f"Paths are relative to the project's folder{holds}",
    )


def main():
    default = DefaultEnvironment()
    if "DEEPCOMPRESS_BUILT" not in default:
        default["DEEPCOMPRESS_BUILT"] = build_models()
    if default["DEEPCOMPRESS_BUILT"]:
        generated, archive = default["DEEPCOMPRESS_BUILT"]
        env.Append(CPPPATH=[str(generated)])
        env.Prepend(LIBS=[archive])


main()
