"""`deepcompress options`, `operators` and `kernels`: print pages of the documentation."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from deepcompress.cli.kconfig import kconfig
from deepcompress.options import OPTIONS

if TYPE_CHECKING:
    from deepcompress.cli.command import Commands


def add(commands: Commands) -> None:
    """Adds the commands."""
    options = commands.add_parser("options", help="print every option and what it means")
    options.add_argument("--markdown", action="store_true", help="print docs/options.md")
    options.add_argument("--kconfig", action="store_true", help="print zephyr/Kconfig")
    options.set_defaults(run=_run_options)
    operators = commands.add_parser("operators", help="print the supported operators")
    operators.set_defaults(run=_run_operators)
    kernels = commands.add_parser("kernels", help="print docs/kernels.md")
    kernels.set_defaults(run=_run_kernels)


def _run_options(parsed: argparse.Namespace) -> int:
    page = kconfig if parsed.kconfig else options_markdown if parsed.markdown else options_text
    print(page(), end="")
    return 0


def _run_operators(parsed: argparse.Namespace) -> int:
    print(operators_markdown(), end="")
    return 0


def _run_kernels(parsed: argparse.Namespace) -> int:
    print(kernels_markdown(), end="")
    return 0


def options_markdown() -> str:
    """docs/options.md."""
    lines = [
        "# Options",
        "",
        "Written by `python -m deepcompress options --markdown`. In `platformio.ini`, write",
        "`custom_deepcompress_<name>`; on the command line, write `--<name>` with dashes.",
        "",
        "| name | default | meaning | example |",
        "|---|---|---|---|",
        "| `model` |  | the .pt file, relative to the project; or several, each with a name. On "
        "the command line, the file is an argument without a flag. | `models/lenet5.pt`, or lines "
        "`digits = models/lenet5.pt` |",
    ]
    for o in OPTIONS:
        default = "" if o.default is None else "no" if o.default is False else str(o.default)
        choices = (
            f" One of {', '.join(f'`{choice}`' for choice in o.choices)}." if o.choices else ""
        )
        lines.append(f"| `{o.name}` | {default} | {o.meaning}.{choices} | `{o.example}` |")
    return "\n".join(lines) + "\n"


def operators_markdown() -> str:
    """docs/operators.md, from the operators' docstrings."""
    from deepcompress.frontend.decompositions import decomposed
    from deepcompress.ops import OPERATORS

    lines = [
        "# Operators",
        "",
        "Written by `python -m deepcompress operators`. `torch.export` turns each layer into aten",
        "calls, which are imported as the operators below. The compiler refuses all other calls,",
        "and names the layer, the operator and the line.",
    ]
    for name, operator in OPERATORS.items():
        text = sys.modules[type(operator).__module__].__doc__ or ""
        title, _, limits = text.strip().partition("\n\n")
        aten = ", ".join(f"`{aten}`" for aten in operator.aten) or "other operators"
        lines += [
            "",
            f"## {name}",
            "",
            title,
            "",
            *([limits, ""] if limits else []),
            f"From {aten}.",
        ]
    names = ", ".join(f"`{name}`" for name in sorted(decomposed()))
    lines += [
        "",
        "## Decomposed operators",
        "",
        f"These aten calls become several of the operators above: {names}.",
    ]
    return "\n".join(lines) + "\n"


def options_text() -> str:
    return "".join(
        f"custom_deepcompress_{o.name}\n    {o.meaning}\n    {o.name} = {o.example}\n\n"
        for o in OPTIONS
    )


def kernels_markdown() -> str:
    """docs/kernels.md, from the table of kernels."""
    from deepcompress.backend.kernels import KERNELS
    from deepcompress.target.core import FEATURES

    used = frozenset().union(*(kernel.features for kernel in KERNELS.values()))
    features = [name for name in FEATURES if name in used]
    lines = [
        "# Kernels",
        "",
        "Written by `python -m deepcompress kernels`. Each row is a C function in",
        "`include/deepcompress/kernels/`. [glossary.md](glossary.md) explains terms such as tap",
        "and tile, [operators.md](operators.md) the operators, [formats.md](formats.md) the",
        "encodings.",
        "",
        "For each layer, `backend/select_kernels.py` compares the kernels that accept it, with",
        "each encoding that they read. It selects the kernel and encoding with the fewest",
        "cycles, the fewest bytes of flash, or the smallest product of both, as the option",
        "`optimize` states. A kernel with a feature is selected only for CPUs that have this",
        "feature. If its C is compiled for another CPU, the same call runs a portable kernel",
        "with the same result.",
        "",
        "- Features: " + "; ".join(f"`{name}` is {FEATURES[name]}" for name in features) + ".",
        "- Scratch: what the kernel stores in its scratch memory.",
        "- Cycles: the rates of the cost model, for a Cortex-M4 at zero wait states. For other",
        "  CPUs, they are multiplied by a factor. Rates marked (instructions) count",
        "  instructions of a Cortex-M55, because Arm publishes no timing of it. The estimate of",
        "  a layer is the sum of its rates.",
        "  - A product is a multiplication by a weight; in kernels without weights, one step of",
        "    the sum, product or mean that they compute.",
        "  - A rate per weight or per decoded weight applies once per inference. If a row has",
        "    no such rate, the rate per product includes decoding.",
        "  - The rates of a tile are those of one tile in one output channel.",
        '  - "DSP" and "no DSP" are CPUs with and without the DSP extension.',
        "  - Not in the table: the requantization of `dc_conv2d_taps_*`, and the copy of a",
        "    padded input.",
        "",
        "| function | header | operators | encodings | features | scratch | cycles |",
        "|---|---|---|---|---|---|---|",
    ]
    for kernel in KERNELS.values():
        rates = (f"{name}: {text}" if name else text for name, text in kernel.rates().items())
        cells = [
            f"`{kernel.c_name}`",
            f"`{kernel.header}.h`",
            ", ".join(kernel.operators),
            ", ".join(kernel.encodings),
            ", ".join(sorted(kernel.features)),
            kernel.scratch_text,
            "<br>".join(rates),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
