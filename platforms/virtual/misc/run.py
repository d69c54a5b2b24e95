"""Runs a virtual board's firmware; its exit code is this one's.

    run.py SECONDS MACHINE PROGRAM [ARGUMENT ...]

MACHINE is one of QEMU's, or `host` for a program of the PC. The firmware reads and writes the files
and the terminal of the PC by semihosting. One that has not ended after SECONDS is stopped, and the
exit code is 124, like that of timeout(1).
"""

import ctypes
import signal
import subprocess
import sys

TIMED_OUT = 124


def main(seconds, machine, program, *arguments):
    command = [program, *arguments] if machine == "host" else qemu(machine, program, arguments)
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, timeout=float(seconds), preexec_fn=end_with_parent
        )
    except subprocess.TimeoutExpired:
        sys.stderr.write(
            f"virtual: error: the firmware did not end within {seconds} s and was stopped. It ends "
            "by returning from main() or calling exit(). If it needs longer, set "
            "custom_virtual_timeout = SECONDS in platformio.ini.\n"
        )
        return TIMED_OUT
    return done.returncode if done.returncode >= 0 else 128 - done.returncode


def qemu(machine, firmware, arguments):
    words = [word.replace(",", ",,") for word in ("firmware", *arguments)]  # a comma separates
    semihosting = ",".join(["enable=on", "target=native", *(f"arg={word}" for word in words)])
    quiet = ["-nographic", "-monitor", "none", "-serial", "none"]
    return [
        "qemu-system-arm", "-M", machine, *quiet,
        "-semihosting-config", semihosting, "-kernel", firmware,
    ]  # fmt: skip


def end_with_parent():
    """`pio test` kills what it started: let no QEMU outlive that (PR_SET_PDEATHSIG, Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
