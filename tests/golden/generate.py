"""The compiler's current output for each golden network. Only this module imports the compiler."""

from __future__ import annotations

import hashlib
import re
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from deepcompress import compile as compiler
from deepcompress.options import Options, Target
from deepcompress.profiler.engine import Request
from deepcompress.profiler.profile import Profile, profile
from golden.cases import CPUS, Case
from golden.networks import NETWORKS, Made, Network, make

__all__ = ["Profile", "Request", "cases", "compile_alone", "generate", "profile"]

NO_HASH = "0" * 16
NO_BUILD_ID = f"0x{0:08}"


def cases(networks: Iterable[Network] = NETWORKS) -> list[Case]:
    return [Case(n.name, cpu, goal) for n in networks for cpu in CPUS for goal in n.goals]


def generate(
    networks: Iterable[Network] = NETWORKS,
) -> Iterator[tuple[Case, Mapping[str, str]]]:
    """Each case and its generated files, name -> text; report.html is left out.

    The hash of the network's file is zeros: it changes with torch's version. The identifier of a
    build is zeros: files that are the same for several CPUs are stored once.
    """
    with tempfile.TemporaryDirectory() as folder:
        for network in networks:
            made = make(network)
            path = _saved(made, network, Path(folder))
            given = _calibration(made, network, Path(folder))
            digest = hashlib.sha256(path.read_bytes()).hexdigest()[: len(NO_HASH)]
            with mock.patch.object(compiler, "open_model", _opened_once(compiler.open_model)):
                for case in cases([network]):
                    yield case, _texts(path, given, digest, case, network)


def compile_alone(network: Network, case: Case) -> Mapping[str, str]:
    """The result of `generate` for a case, compiled from the start like a user's file."""
    with tempfile.TemporaryDirectory() as folder:
        made = make(network)
        path = _saved(made, network, Path(folder))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[: len(NO_HASH)]
        return _texts(path, _calibration(made, network, Path(folder)), digest, case, network)


def _opened_once(open_model: Callable[..., Any]) -> Callable[..., Any]:
    """An `open_model` that opens a file once for all of its cases, which halves the time.

    The result depends neither on the CPU nor on the goal; a test compares with `compile_alone`.
    """
    opened = {}

    def once(path: Path, **arguments: Any) -> Any:
        if path not in opened:
            opened[path] = open_model(path, **arguments)
        return opened[path]

    return once


def _texts(
    path: Path, given: str | None, digest: str, case: Case, network: Network
) -> dict[str, str]:
    options = Options(
        optimize=case.goal,
        calibration=given,
        target=Target(cpu=CPUS[case.cpu]),
        **network.options,
    )
    texts = dict(compiler.compile_model(path, name=network.name, options=options).texts)
    del texts["report.html"]
    (build_id,) = re.findall(r"_BUILD_ID +(0x\w+)$", texts[f"{network.name}.h"], re.MULTILINE)
    without = {digest: NO_HASH, build_id: NO_BUILD_ID}
    for old, new in without.items():
        texts = {name: text.replace(old, new) for name, text in texts.items()}
    return texts


def _saved(made: Made, network: Network, folder: Path) -> Path:
    """The network's file, an exported program."""
    path = folder / f"{network.name}.pt2"
    given = tuple(torch.zeros(1, *shape) for shape in network.shapes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the attributes of recurrent layers
        torch.export.save(torch.export.export(made.module, given), path)
    return path


def _calibration(made: Made, network: Network, folder: Path) -> str | None:
    """The path of the network's calibration data, if it has some."""
    if not made.calibration:
        return None
    path = folder / f"{network.name}.npz"
    np.savez(path, **made.calibration)
    return str(path)
