"""What platformio.ini says of the models: the keys `custom_deepcompress_...` of one environment.

custom_deepcompress_model = models/lenet5.pt          one model, named after its file

custom_deepcompress_model =                           several, each named
    digits = models/lenet5.pt
    words = models/kws.pt
custom_deepcompress_sparsity =                        an option for some of them
    digits = 0.9
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deepcompress.errors import UserError, did_you_mean
from deepcompress.options import BY_NAME, parse

PREFIX = "custom_deepcompress_"


@dataclass(frozen=True)
class Model:
    """A model to compile: its name in C, its file relative to the project, its options' texts."""

    name: str
    path: str
    texts: Mapping[str, str]


def read_models(section: Mapping[str, str], *, where: str) -> list[Model]:
    """The models of an environment; none where none is named.

    Args:
        section: the environment's options, key -> text.
        where: how to name it in an error, such as "platformio.ini [env:nucleo]".

    Raises:
        UserError: an unknown key, a name that cannot stand in C, a text that does not parse.
    """
    ours = {key[len(PREFIX) :]: text for key, text in section.items() if key.startswith(PREFIX)}
    named = ours.pop("model", "").strip()
    if not named:
        return []
    _check_keys(ours, where)
    files = _lines(named) or {_identifier(Path(named).stem): named}
    for name in files:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise UserError(
                f"{name!r} cannot be the name of a model",
                where,
                "Write name = path with a name of letters, digits and underscores",
            )
    models = [
        Model(name, path, {key: _for_model(text, name, files) for key, text in ours.items()})
        for name, path in files.items()
    ]
    for model in models:
        parse(model.texts, where=where)
    return models


def _check_keys(ours: Mapping[str, str], where: str) -> None:
    known = [*BY_NAME, "model"]
    for key in ours:
        if key not in known:
            raise UserError(
                f"there is no option {PREFIX}{key}{did_you_mean(key, known)}",
                where,
                "The options are " + ", ".join(sorted(known)),
            )


def _lines(text: str) -> dict[str, str]:
    """`name = value` lines; empty where the text is not made of such."""
    pairs = [line.partition("=") for line in text.splitlines() if line.strip()]
    if not all(equals for _, equals, _ in pairs):
        return {}
    return {name.strip(): value.strip() for name, _, value in pairs}


def _for_model(text: str, name: str, files: Mapping[str, str]) -> str:
    """An option's text for one model: its own line, or what is said for all."""
    lines = _lines(text)
    if lines and all(key in files for key in lines):
        return lines.get(name, "")
    return text


def _identifier(stem: str) -> str:
    word = re.sub(r"\W", "_", stem, flags=re.ASCII)
    return word if not word[:1].isdigit() else f"model_{word}"
