"""What generated files state about their origin. No date, path or host name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepcompress.options import Options


@dataclass(frozen=True)
class Provenance:
    """The origin of generated files.

    Attributes:
        source: name of the model file.
        sha256: the first digits of its checksum.
        options: "name = value" of each that decided what was generated.
    """

    source: str
    sha256: str
    options: tuple[str, ...]


def provenance_of(path: Path, options: Options) -> Provenance:
    """The provenance of what a model file and options are compiled to."""
    pruned_once = isinstance(options.sparsity, float) and not options.retrain
    stated = {
        "sparsity": options.sparsity,
        "prune": options.prune if pruned_once else None,
        **_goals(options),
        "stateful": "yes" if options.stateful else None,
        "encoding": options.encoding,
        "optimize": options.optimize,
        "cpu": options.target.cpu,
    }
    return Provenance(
        source=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest()[:16],
        options=tuple(f"{key} = {value}" for key, value in stated.items() if value is not None),
    )


def _goals(options: Options) -> dict[str, Any]:
    """Goals and settings of retraining, except sparsity."""
    if not options.retrain:
        return {}
    budgets = ("parameter_budget", "flash_budget", "cycle_budget")
    names = ("max_accuracy_drop", *budgets, "method", "epochs", "seed")
    return {"retrain": "yes"} | {name: getattr(options, name) for name in names}
