"""Builds firmware for a virtual board and runs it in QEMU; on the board `virtual_native`, the PC.

`upload` runs the firmware and carries its exit code; `pio test` finds a launcher named `program`.
"""

import os
import shlex
import sys

from SCons.Script import AlwaysBuild, Default, DefaultEnvironment

env = DefaultEnvironment()
platform = env.PioPlatform()
board = env.BoardConfig()
MISC = os.path.join(platform.get_dir(), "misc")
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
    env.BuildSources(os.path.join("$BUILD_DIR", "VirtualBoard"), MISC, "+<startup.c>")


def render_linker_script():
    """The board's linker script, rendered into the build folder."""
    with open(os.path.join(MISC, "link.ld.in"), encoding="utf-8") as template:
        text = template.read()
    for key in ("flash_origin", "flash_size", "ram_origin", "ram_size"):
        text = text.replace("@{}@".format(key), str(board.get("build.memory." + key)))
    folder = env.subst("$BUILD_DIR")
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "link.ld")
    with open(path, "w", encoding="utf-8") as script:
        script.write(text)
    return path


def run_command():
    """What starts a firmware, without its path."""
    if not MACHINE:
        return []
    semihosting = ["-semihosting-config", "enable=on,target=native"]
    quiet = ["-nographic", "-monitor", "none", "-serial", "none"]
    return ["qemu-system-arm", "-M", MACHINE, *quiet, *semihosting, "-kernel"]


def run_firmware(target, source, env):
    """Runs the firmware; its exit code is the build's. A firmware that does not end is stopped."""
    import subprocess

    command = [*run_command(), str(source[0])]
    seconds = int(env.GetProjectOption("custom_virtual_timeout", TIMEOUT_SECONDS))
    sys.stdout.flush()
    try:
        return subprocess.run(command, timeout=seconds, stdin=subprocess.DEVNULL).returncode
    except subprocess.TimeoutExpired:
        sys.stderr.write(
            "virtual: error: the firmware did not end within {} s; it should return from main() or "
            "call exit(). Set custom_virtual_timeout for a longer limit.\n".format(seconds)
        )
        return 124


def write_launcher():
    """For `pio test`, which starts $BUILD_DIR/program."""
    path = os.path.join(env.subst("$BUILD_DIR"), "program")
    command = " ".join(map(shlex.quote, run_command()))
    firmware = shlex.quote(os.path.join(env.subst("$BUILD_DIR"), "firmware.elf"))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as launcher:
        launcher.write("#!/bin/sh\nexec {} {}\n".format(command, firmware))
    os.chmod(path, 0o755)


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
