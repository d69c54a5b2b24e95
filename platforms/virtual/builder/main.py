"""Builds firmware for a virtual board; on the board `virtual_native`, a program for the PC.

`upload` runs it by misc/run.py and carries its exit code. `pio test` starts $BUILD_DIR/program,
which for a board in QEMU is a launcher that does the same.
"""

import shlex
import subprocess
import sys
from pathlib import Path

from SCons.Script import AlwaysBuild, Default, DefaultEnvironment

env = DefaultEnvironment()
board = env.BoardConfig()
MISC = Path(env.PioPlatform().get_dir()) / "misc"
BUILD = Path(env.subst("$BUILD_DIR"))
MACHINE = board.get("build.qemu_machine", "")
TIMEOUT_SECONDS = env.GetProjectOption("custom_virtual_timeout", "120")
RUN = [env.subst("$PYTHONEXE"), str(MISC / "run.py"), TIMEOUT_SECONDS, MACHINE or "host"]


def configure_host():
    env.Replace(
        AR="ar", CC="cc", CXX="c++", RANLIB="ranlib", SIZETOOL="size",
        PROGNAME="program", PROGSUFFIX="",
    )  # fmt: skip
    env.Append(CCFLAGS=["-O2", "-Wall"], CPPDEFINES=["VIRTUAL_BOARD"], LIBS=["m"])


def configure_arm():
    BUILD.mkdir(parents=True, exist_ok=True)
    gcc = "arm-none-eabi-"
    env.Replace(
        AR=gcc + "gcc-ar", AS=gcc + "gcc", CC=gcc + "gcc", CXX=gcc + "g++",
        OBJCOPY=gcc + "objcopy", RANLIB=gcc + "gcc-ranlib", SIZETOOL=gcc + "size",
        PROGNAME="firmware", PROGSUFFIX=".elf",
    )  # fmt: skip
    cpu = board.get("build.machine_flags").split()
    env.Append(
        ASFLAGS=["-c", *cpu],
        ASPPFLAGS=["-x", "assembler-with-cpp"],
        CCFLAGS=["-Os", "-ffunction-sections", "-fdata-sections", "-Wall", *cpu],
        CXXFLAGS=["-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics"],
        CPPDEFINES=["VIRTUAL_BOARD", ("F_CPU", board.get("build.f_cpu"))],
        LINKFLAGS=[*cpu, "--specs=rdimon.specs", "-nostartfiles", "-Wl,--gc-sections"],
        LIBS=["m"],
    )
    env.Append(LINKFLAGS=["-T", write_linker_script()])
    env.Append(PIOBUILDFILES=compile_startup())
    write_launcher()


def compile_startup():
    """The user's flags, but not -flto: gcc would compare main's type, of which C++ allows two."""
    command = env["CCCOM"].replace("$CCFLAGS", "$CCFLAGS -fno-lto")
    target = "$BUILD_DIR/VirtualBoard/startup.o"
    return env.Object(target, str(MISC / "startup.c"), CCCOM=command)


def write_linker_script():
    text = (MISC / "link.ld.in").read_text(encoding="utf-8")
    for name, value in board.get("build.memory").items():
        text = text.replace(f"@{name}@", value)
    script = BUILD / "link.ld"
    script.write_text(text, encoding="utf-8")
    return str(script)


def write_launcher():
    launcher = BUILD / "program"
    command = shlex.join([*RUN, str(BUILD / "firmware.elf")])
    launcher.write_text(f'#!/bin/sh\nexec {command} "$@"\n', encoding="utf-8")
    launcher.chmod(0o755)


def run_firmware(target, source, env):
    sys.stdout.flush()  # what SCons has said comes before what the firmware says
    return subprocess.run([*RUN, str(source[0]), *env.get("PROGRAM_ARGS", [])]).returncode


env.Replace(
    ARFLAGS=["rc"],
    SIZEPROGREGEXP=r"^(?:\.text|\.ARM\.ex\w+|\.data)\s+(\d+).*",
    SIZEDATAREGEXP=r"^(?:\.data|\.bss)\s+(\d+).*",
    SIZECHECKCMD="$SIZETOOL -A -d $SOURCES",
    SIZEPRINTCMD="$SIZETOOL -B -d $SOURCES",
)
if MACHINE:
    configure_arm()
else:
    configure_host()

program = env.BuildProgram()
if MACHINE:
    env.Depends(program, str(BUILD / "link.ld"))
where = "QEMU's " + MACHINE if MACHINE else "this PC"
run = env.VerboseAction(run_firmware, "Running $SOURCE on " + where)
env.AddPlatformTarget("upload", program, run, "Upload", "Runs the firmware on " + where)
size = env.VerboseAction("$SIZEPRINTCMD", "Calculating size $SOURCE")
AlwaysBuild(env.Alias("size", program, size))
Default([program])
