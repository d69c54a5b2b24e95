"""Flips random bits of compiled models, and counts how many the self test finds.

    python benchmarks/integrity_bit_flips.py

In constants every flip must be found, before a layer runs. In the instructions of layers only
golden vectors can find one; these counts are for docs/self_test.md, and are not part of `run`.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "support")]

import bit_flips  # noqa: E402
from deepcompress.encodings import ENCODINGS  # noqa: E402
from golden.generate import generate  # noqa: E402
from golden.networks import NETWORKS  # noqa: E402

FLIPS = 200
# One network per encoding, a recurrent one with the table of tanh, one that takes raw bytes.
ON_PC = (*ENCODINGS, "gru", "lenet")
ON_ARM = ("lenet", "delta")
_OF_THE_TEST = ("crc_of_constants", "scores_differ", "first_wrong_layer")

Row = tuple[str, int, int]


def run(progress: Callable[[str], None], *, flips: int = FLIPS) -> list[Row]:
    """What was flipped, the number of flips, and how many the self test found.

    Args:
        progress: receives a line before each part.
    """
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for network, texts in _compiled(ON_PC):
            progress(f"bit flips in the constants of {network} on the PC")
            folder = Path(name) / network
            found = bit_flips.flip_on_pc(texts, network, folder=folder, count=flips)
            rows.append(_row(f"bit flips in constants, {network}, PC", found))
            if network in ON_ARM:
                progress(f"bit flips in the constants of {network} on a simulated Cortex-M4")
                elf = bit_flips.build_for_arm(texts, network, folder=folder / "arm")
                found = bit_flips.flip_on_arm(elf, _arrays(elf, network), count=flips)
                rows.append(_row(f"bit flips in constants, {network}, Cortex-M4", found))
    return rows


def in_instructions(
    progress: Callable[[str], None], *, flips: int = FLIPS
) -> Mapping[str, Counter[str]]:
    """How often each stage found a flip in the code of the layers, by network."""
    counts = {}
    with tempfile.TemporaryDirectory() as folder:
        for network, texts in _compiled(ON_ARM):
            progress(f"bit flips in the instructions of {network} on a simulated Cortex-M4")
            elf = bit_flips.build_for_arm(texts, network, folder=Path(folder) / network)
            _, functions = bit_flips.regions(elf, f"{network}.c")
            layers = [f for f in functions if f.name not in _OF_THE_TEST]
            found = bit_flips.flip_on_arm(elf, layers, count=flips)
            counts[network] = Counter(outcome.stage for outcome in found)
    return counts


def _compiled(names: Iterable[str]) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The generated files of networks, with two golden vectors and the outputs of the layers."""
    test = {"self_test": 2, "self_test_layers": True}
    for network in NETWORKS:
        if network.name in names:
            tested = replace(network, goals=("balanced",), options={**network.options, **test})
            for case, texts in generate([tested]):
                if case.cpu == "m4":
                    yield network.name, texts


def _arrays(elf: Path, network: str) -> list[bit_flips.Region]:
    """The constants of the model in flash, without the pointers to names of classes and layers."""
    constants, _ = bit_flips.regions(elf, f"{network}.c")
    return [one for one in constants if not one.name.startswith(("labels.", "names."))]


def _row(what: str, outcomes: Iterable[bit_flips.Outcome]) -> Row:
    stages = [outcome.stage for outcome in outcomes]
    return what, len(stages), stages.count("constants")


def main() -> int:
    rows = run(print)
    for what, tried, found in rows:
        print(f"{what}: {found} of {tried} found")
    for network, counts in in_instructions(print).items():
        each = ", ".join(f"{stage} {count}" for stage, count in counts.most_common())
        print(f"bit flips in instructions, {network}, Cortex-M4: {each}")
    return int(any(tried != found for _, tried, found in rows))


if __name__ == "__main__":
    sys.exit(main())
