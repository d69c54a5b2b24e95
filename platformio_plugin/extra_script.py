"""Compiles the models named in platformio.ini into an archive that the firmware links.

SCons runs this once per library folder in which it finds DeepCompress, also for a project that does
not use it, and when an IDE indexes the project. It must be quick then, and compile nothing twice.
It writes nothing into the library's own folder: that would make an IDE index it again.
"""

import sys
from pathlib import Path

Import("env", "pio_lib_builder")

LIBRARY = Path(pio_lib_builder.path)
sys.path.insert(0, str(LIBRARY / "platformio_plugin"))
sys.dont_write_bytecode, remembered = True, sys.dont_write_bytecode

from deepcompress.build import complaint_about_platformio, complaint_about_python

try:
    from platformio import __version__ as platformio_version
except ImportError:  # another tool that runs SCons
    platformio_version = ""
complaint = complaint_about_python(sys.version_info[:2])
complaint = complaint or complaint_about_platformio(platformio_version)
if complaint:
    if any(key.startswith("custom_deepcompress_") for key in dict(env.GetProjectOptions())):
        sys.stderr.write("\n" + complaint + "\n\n")
        env.Exit(1)
    Return()  # ends this script; the imports below would fail

from deepcompress import escape
from deepcompress.build.build_lock import wait_for_other_builds
from deepcompress.build.cache import mirror
from deepcompress.build.ini import misspelt_prefixes, read_models
from deepcompress.build.parent_process import end_when_pio_is_killed
from deepcompress.build.project import FAILURES, Project, explain, generate, profile_models, timed
from deepcompress.options import INI_PREFIX
from deepcompress.target.boards import flags, target_of
from SCons.Script import DefaultEnvironment

sys.dont_write_bytecode = remembered
sys.path.pop(0)

GENERATED = Path(env.subst("$BUILD_DIR")) / "deepcompress" / "generated"
REPORTS, PROFILES = GENERATED.with_name("reports"), GENERATED.with_name("profiles")


def main():
    default = DefaultEnvironment()
    if "DEEPCOMPRESS" not in default:
        default["DEEPCOMPRESS"] = build_models()
    if default["DEEPCOMPRESS"] is None:
        return
    env.AppendUnique(CPPPATH=[str(GENERATED)])
    env.Prepend(LIBS=default["DEEPCOMPRESS"])


def build_models():
    """The libraries to link: one archive; [] if an IDE indexes broken models; None for no models.

    An error is shown and ends the build, but not an IDE's indexing.
    """
    if pio_lib_builder.name in env.GetProjectOption("lib_ignore", []):
        return None
    try:
        project = describe_project()
        for warning in misspelt_prefixes(dict(env.GetProjectOptions()), where=project.where):
            sys.stderr.write(f"deepcompress: warning: {escape.paragraph(warning)}\n")
        models = read_models(our_options(), where=project.where)
        if not models:
            return None
        end_when_pio_is_killed()
        if not env.IsIntegrationDump():
            wait_for_other_builds(project.store / f"{env['PIOENV']}.lock", project.progress)
        generated = generate(models, project)
        with timed(f"copy to {GENERATED}", project):
            mirror(generated.sources, GENERATED)
            if mirror(generated.reports, REPORTS):
                for model in models:
                    project.progress(f"report    {REPORTS / model.name}.html")
        add_profile_target(models, project)
        return [build_archive(models)]
    except FAILURES as error:
        sys.stderr.write(f"\n{explain(error, 'ini')}\n\n")
        if not env.IsIntegrationDump():
            env.Exit(1)
        return []


def show(complaint):
    sys.stderr.write(f"\n{complaint}\n\n")


def describe_project():
    return Project(
        folder=Path(env.subst("$PROJECT_DIR")),
        where=f"platformio.ini [env:{env['PIOENV']}]",
        store=Path(env.subst("$PROJECT_WORKSPACE_DIR")) / "deepcompress",
        target=target_flags(),
        python=env.subst("$PYTHONEXE"),
        verbose=bool(int(ARGUMENTS.get("PIOVERBOSE", 0))),
        progress=escape.show,
        spelling="ini",
    )


def target_flags():
    """The board, from its manifest, as flags of the command line."""
    return flags(target_of(env.BoardConfig().get)) if "BOARD" in env else ("--cpu", "host")


def our_options():
    """The options custom_deepcompress_... of this environment, with variables expanded."""
    options = dict(env.GetProjectOptions())
    return {key: env.subst(str(options[key]), 1) for key in options if key.startswith(INI_PREFIX)}


def add_profile_target(models, project):
    """Adds `pio run -t profile`. It runs the firmware of a virtual board; for a real board, whose
    firmware would wait for peripherals, it calls the inferences only."""

    def run(target, source, env):
        try:
            return profile_models(
                models,
                project,
                Path(str(source[0])).resolve(),
                reports=REPORTS,
                output=PROFILES,
                alone=env.PioPlatform().name != "virtual",
                arguments=env.get("PROGRAM_ARGS", []),
            )
        except FAILURES as error:
            sys.stderr.write(f"\n{explain(error, 'ini')}\n\n")
            return 1

    DefaultEnvironment().AddCustomTarget(
        "profile",
        "$BUILD_DIR/${PROGNAME}$PROGSUFFIX",
        env.VerboseAction(run, "Profiling $SOURCE"),
        title="Profile",
        description="Modelled cycles of each model's inference, layer by layer",
    )


def build_archive(models):
    """Builds the generated sources as an archive, optimised whatever the framework does."""
    kernels = env.Clone()
    for variable in ("CCFLAGS", "CFLAGS"):
        inherited = kernels.get(variable, [])
        kernels[variable] = [flag for flag in inherited if not str(flag).startswith("-O")]
    small = all(model.texts.get("optimize", "").strip().lower() == "size" for model in models)
    kernels.Append(CCFLAGS=["-Os" if small else "-O2"])
    kernels.Prepend(CPPPATH=[str(GENERATED), str(LIBRARY / "include")])
    return kernels.BuildLibrary("$BUILD_DIR/deepcompress/models", str(GENERATED))


main()
