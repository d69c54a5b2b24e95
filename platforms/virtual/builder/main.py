"""Builds firmware for a virtual board and runs it in QEMU; on the board `virtual_native`, the PC.

`upload` runs the firmware and carries its exit code; `pio test` finds a launcher named `program`.
"""

import shlex
import subprocess
import sys
from pathlib import Path

from SCons.Script import AlwaysBuild, Default, DefaultEnvironment

env = DefaultEnvironment()
platform = env.PioPlatform()
board = env.BoardConfig()
MISC = Path(platform.get_dir()) / "misc"
MACHINE = board.get("build.qemu_machine", "")
TIMEOUT_SECONDS = 120


def set_tools(prefix):
    env.Replace(
        AR=prefix + "gcc-ar",
        AS=prefix + "gcc",
        CC=prefix + "gcc",
        CXX=prefix + "g++",
        OBJCOPY=prefix + "objcopy",
        RANLIB=prefix + "gcc-ranlib",
        SIZETOOL=prefix + "size",
        ARFLAGS=["rc"],
        SIZEPRINTCMD="$SIZETOOL -B -d $SOURCES",
        SIZEPROGREGEXP=r"^(?:\.isr|\.text|\.ARM|\.data)\S*\s+(\d+).*",
        SIZEDATAREGEXP=r"^(?:\.data|\.bss)\S*\s+(\d+).*",
        SIZECHECKCMD="$SIZETOOL -A -d $SOURCES",
    )


def configure_arm():
    machine_flags = board.get("build.machine_flags").split()
    env.Append(
        ASFLAGS=["-x", "assembler-with-cpp", *machine_flags],
        CCFLAGS=["-Os", "-ffunction-sections", "-fdata-sections", "-Wall", *machine_flags],
        CXXFLAGS=["-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics"],
        CPPDEFINES=["VIRTUAL_BOARD", ("F_CPU", board.get("build.f_cpu"))],
        LINKFLAGS=[
            *machine_flags,
            "--specs=rdimon.specs",
            "-nostartfiles",
            "-Wl,--gc-sections",
            "-Wl,--no-warn-rwx-segments",
            "-T",
            render_linker_script(),
        ],
        LIBS=["m"],
    )
    env.BuildSources("$BUILD_DIR/VirtualBoard", str(MISC), "+<startup.c>")


def build_folder():
    folder = Path(env.subst("$BUILD_DIR"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def render_linker_script():
    """The board's linker script, rendered into the build folder."""
    text = (MISC / "link.ld.in").read_text(encoding="utf-8")
    for key in ("flash_origin", "flash_size", "ram_origin", "ram_size"):
        text = text.replace(f"@{key}@", str(board.get(f"build.memory.{key}")))
    script = build_folder() / "link.ld"
    script.write_text(text, encoding="utf-8")
    return str(script)


def run_command():
    """What starts a firmware, without its path."""
    if not MACHINE:
        return []
    semihosting = ["-semihosting-config", "enable=on,target=native"]
    quiet = ["-nographic", "-monitor", "none", "-serial", "none"]
    return ["qemu-system-arm", "-M", MACHINE, *quiet, *semihosting, "-kernel"]


def run_firmware(target, source, env):
    """Runs the firmware; its exit code is the build's. A firmware that does not end is stopped."""
    command = [*run_command(), str(source[0])]
    seconds = int(env.GetProjectOption("custom_virtual_timeout", TIMEOUT_SECONDS))
    sys.stdout.flush()
    try:
        return subprocess.run(command, timeout=seconds, stdin=subprocess.DEVNULL).returncode
    except subprocess.TimeoutExpired:
        sys.stderr.write(
            f"virtual: error: the firmware did not end within {seconds} s; it should return from "
            "main() or call exit(). Set custom_virtual_timeout for a longer limit.\n"
        )
        return 124


def write_launcher():
    """For `pio test`, which starts $BUILD_DIR/program."""
    launcher = build_folder() / "program"
    command = [*run_command(), str(build_folder() / "firmware.elf")]
    launcher.write_text(f"#!/bin/sh\nexec {shlex.join(command)}\n", encoding="utf-8")
    launcher.chmod(0o755)


if MACHINE:
    set_tools("arm-none-eabi-")
    env.Replace(PROGNAME="firmware", PROGSUFFIX=".elf")
    configure_arm()
    write_launcher()
else:
    set_tools("")
    env.Replace(PROGNAME="program", PROGSUFFIX="")
    env.Append(CCFLAGS=["-O2", "-Wall"], CPPDEFINES=["VIRTUAL_BOARD"], LIBS=["m"])

program = env.BuildProgram()
where = "QEMU's " + MACHINE if MACHINE else "this PC"
run = env.VerboseAction(run_firmware, "Running $SOURCE on " + where)
env.AddPlatformTarget("upload", program, run, "Upload", "Runs the firmware on " + where)
AlwaysBuild(
    env.Alias("size", program, env.VerboseAction("$SIZEPRINTCMD", "Calculating size $SOURCE"))
)
Default([program])
