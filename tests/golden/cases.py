"""The case of a golden file: a network, a CPU and a goal."""

from __future__ import annotations

from dataclasses import dataclass

# A CPU's name in folders and tables -> its name in options.
CPUS = {
    "m0plus": "cortex-m0plus",
    "m4": "cortex-m4",
    "m55": "cortex-m55",
    "generic": "generic",
}
GOALS = ("size", "balanced", "speed")


@dataclass(frozen=True)
class Case:
    """One compilation; `cpu` is a key of `CPUS`."""

    network: str
    cpu: str
    goal: str

    @property
    def target(self) -> str:
        """CPU and goal, such as "m4-size"."""
        return f"{self.cpu}-{self.goal}"

    def __str__(self) -> str:
        return f"{self.network} {self.target}"
