"""One file per CPU family: what the cores have, their timing, and the simulators that run them."""

from __future__ import annotations

from deepcompress.errors import UserError, did_you_mean
from deepcompress.target import cortex_m0, cortex_m3, cortex_m4, cortex_m7, cortex_m33, cortex_m55
from deepcompress.target.core import Cpu

HOST = Cpu("host")
GENERIC = Cpu("generic")  # a board whose CPU is not known here: portable C

_FAMILIES = (cortex_m0, cortex_m3, cortex_m4, cortex_m7, cortex_m33, cortex_m55)

CPUS: dict[str, Cpu] = {
    cpu.name: cpu for cpu in (*(c for family in _FAMILIES for c in family.CPUS), HOST, GENERIC)
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
