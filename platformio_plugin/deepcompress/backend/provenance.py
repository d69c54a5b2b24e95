"""What generated files state about their origin. No date, path or host name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from deepcompress.options import Options, header_lines


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
    """The provenance of the code that is compiled from a model file with options."""
    return Provenance(
        source=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest()[:16],
        options=(*header_lines(options), f"cpu = {options.target.cpu}"),
    )
