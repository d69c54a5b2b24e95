"""Reads the models of one environment in platformio.ini: its keys `custom_deepcompress_...`.

custom_deepcompress_model = models/lenet5.pt          one model, named after its file

custom_deepcompress_model =                           several, each named
    digits = models/lenet5.pt
    words = models/kws.pt
custom_deepcompress_sparsity =                        an option for some of them
    digits = 0.9
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from deepcompress.errors import UserError, did_you_mean
from deepcompress.model_name import check_name, name_of_file
from deepcompress.options import BY_NAME, INI_PREFIX, parse, user_path


@dataclass(frozen=True)
class Model:
    """A model to compile: its name in C, its file relative to the project, its options' texts."""

    name: str
    path: str
    texts: Mapping[str, str]


def read_models(section: Mapping[str, str], *, where: str) -> list[Model]:
    """The models of an environment; an empty list if it names none.

    Args:
        section: the environment's options, key -> text.
        where: how to name it in an error, such as "platformio.ini [env:nucleo]".

    Raises:
        UserError: an unknown key, a name that is no C identifier, a text that does not parse.
    """
    ours = {
        key[len(INI_PREFIX) :]: text for key, text in section.items() if key.startswith(INI_PREFIX)
    }
    _check_keys(ours, where)  # also if no model is named: `model` itself may be misspelt
    named = ours.pop("model", "").strip()
    if not named:
        return []
    files = _model_files(named, where)
    models = [
        Model(name, path, {k: _for_model(k, text, name, files, where) for k, text in ours.items()})
        for name, path in files.items()
    ]
    for model in models:
        parse(model.texts, where=where)
    return models


def misspelt_prefixes(keys: Iterable[str], *, where: str) -> list[str]:
    """A warning for each key that is not ours but begins similarly."""
    return [
        f"{where}: {key} is no option of DeepCompress: did you mean {INI_PREFIX}...?"
        for key in keys
        if key.startswith("custom_") and not key.startswith(INI_PREFIX) and _begins_nearly(key)
    ]


def _begins_nearly(key: str) -> bool:
    words = key.split("_")
    begins = ["_".join(words[:count]) + "_" for count in (2, 3)]
    return bool(get_close_matches(INI_PREFIX, begins, cutoff=0.85))


def _check_keys(ours: Mapping[str, str], where: str) -> None:
    known = [*BY_NAME, "model"]
    for key in ours:
        if key not in known:
            raise UserError(
                f"there is no option {INI_PREFIX}{key}{did_you_mean(key, known)}",
                where,
                "The options are " + ", ".join(sorted(known)),
            )


def _model_files(text: str, where: str) -> dict[str, str]:
    """Model name -> path, of one path or of lines `name = path`."""
    quoted = text[0] == text[-1] and text[0] in "\"'"
    if len(text.splitlines()) == 1 and ("=" not in text or quoted):
        path = user_path(text)
        return {name_of_file(Path(path).stem): path}
    lines = [line.partition("=") for line in text.splitlines() if line.strip()]
    for name, equals, _ in lines:
        if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name.strip()):
            raise UserError(
                f"{name.strip()!r} cannot be the name of a model",
                where,
                "Write name = path with a name of letters, digits and underscores",
            )
    for name, _, _ in lines:
        check_name(name.strip())
    _check_distinct([name.strip() for name, _, _ in lines], where)
    return {name.strip(): user_path(path) for name, _, path in lines}


def _check_distinct(names: list[str], where: str) -> None:
    """Names become file names, such as name_weights.h, and C++ classes without underscores."""
    owners: dict[str, str] = {}
    for name in names:
        folded = name.replace("_", "").lower()
        for word in (folded, folded + "weights"):
            if word in owners:
                raise UserError(
                    f"the models {owners[word]} and {name} have too similar names",
                    where,
                    "Give each a name that differs in more than case, underscores and _weights",
                )
            owners[word] = name


def _for_model(key: str, text: str, name: str, files: Mapping[str, str], where: str) -> str:
    """An option's text for one model: its own line `name = text`, or the text for all models."""
    pairs = [line.partition("=") for line in text.splitlines() if line.strip()]
    lines = {model.strip(): value.strip() for model, _, value in pairs}
    if not any(model in files for model in lines):
        return text
    for model in lines:
        if model not in files:
            raise UserError(
                f"{key} names {model!r}, which is not a model{did_you_mean(model, files)}",
                where,
                f"The models are {', '.join(files)}",
            )
    return lines.get(name, "")
