"""Writes the float network's weights as a C header: python weights.py lenet5.pt header.h"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import torch


def main(model: str, header: str) -> None:
    parameters = torch.export.load(io.BytesIO(Path(model).read_bytes())).state_dict
    text = "/* The weights of lenet5.pt. Written by weights.py. */\n\n"
    for name, value in parameters.items():
        numbers = [f"{number:.9g}" for number in value.flatten().tolist()]
        numbers = [n if "." in n or "e" in n else n + ".0" for n in numbers]
        lines = (", ".join(numbers[i : i + 8]) for i in range(0, len(numbers), 8))
        text += (
            f"static const float lenet5_float_{name.replace('.', '_')}[{value.numel()}] = {{\n    "
        )
        text += "f,\n    ".join(line.replace(",", "f,") for line in lines) + "f\n};\n\n"
    Path(header).write_text(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
