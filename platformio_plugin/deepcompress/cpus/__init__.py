"""One file a CPU family: what the core has, and its timing table."""

from __future__ import annotations

from deepcompress.cpus import m0, m3, m4, m7, m33, m55
from deepcompress.cpus.core import Cpu
from deepcompress.errors import UserError, did_you_mean

HOST = Cpu("host", "host")
GENERIC = Cpu("generic", "generic")  # a board whose CPU is not known here: portable C

CPUS: dict[str, Cpu] = {
    cpu.name: cpu
    for cpu in (*m0.CPUS, *m3.CPUS, *m4.CPUS, *m7.CPUS, *m33.CPUS, *m55.CPUS, HOST, GENERIC)
}


def find(name: str) -> Cpu:
    """The CPU of a name as in gcc's -mcpu, upper or lower case.

    Raises:
        UserError: no CPU of this name is known.
    """
    cpu = CPUS.get(name.lower())
    if cpu is None:
        raise UserError(
            f"no CPU is called '{name}'{did_you_mean(name.lower(), CPUS)}",
            "cpu",
            f"Name one of {', '.join(CPUS)}",
        )
    return cpu
