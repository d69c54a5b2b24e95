"""The options of a model: name, type, default, meaning, and how the build treats each.

The fields of `Options` define the keys of platformio.ini (`custom_deepcompress_<name>`), the flags
of the command line (`--<name>`), docs/options.md and zephyr/Kconfig.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import Any

from deepcompress.errors import Spelling, UserError, did_you_mean, plain, setting

# The modules of encodings/, in the order in which equally cheap ones are preferred. The list is
# here because the build tool's Python, which need not have numpy, reads the options.
ENCODINGS = (
    "dense",
    "panel",
    "delta",
    "delta4",
    "bitmap",
    "block",
    "codebook",
    "huffman",
)


class Header(Enum):
    """When the header of generated files lists an option."""

    NEVER = "never"
    IF_SET = "if it is set"
    IF_ONE_SPARSITY = "if one sparsity is given for all layers, and the network is not retrained"
    IF_SOLVED = "if one sparsity is given, and weights are pruned by calibration data"
    IF_RETRAINED = "if it is set and the network is retrained"
    ALWAYS = "always, after the others"


@dataclass(frozen=True)
class Option:
    """One option of a model.

    Attributes:
        kind: names its parser in `_PARSERS`.
        names_file: it is the path of a file whose content decides the result. The content is part
            of the build cache's key; `file.py:name` counts as the file and the .py next to it, and
            what else it reads is noted while it runs.
        decides_result: whether another value may give another result.
        needs: names of conditions without which the option has no effect, which is a warning. They
            are defined in report/unused_options.py.
        permits: it allows what is refused otherwise, and has no effect where nothing needs it.
        decides_training: whether outcomes of earlier trials are invalid after it has changed. Goals
            are compared separately.
    """

    name: str
    kind: str
    default: Any
    meaning: str
    example: str
    choices: tuple[str, ...] = ()
    names_file: bool = False
    decides_result: bool = True
    decides_training: bool = False
    needs: tuple[str, ...] = ()
    permits: bool = False
    in_header: Header = Header.NEVER

    @property
    def is_path(self) -> bool:
        """Whether its value is the path of a file or folder, or `file.py:name`."""
        return self.kind == "path"


def option(kind: str, default: Any, meaning: str, example: str, **facts: Any) -> Any:
    """A field of `Options`; the arguments are the fields of its `Option`."""
    return field(
        default=default,
        metadata={"kind": kind, "meaning": meaning, "example": example, **facts},
    )


@dataclass(frozen=True)
class Target:
    """The board a model is compiled for. Bytes; None where unknown."""

    cpu: str = "cortex-m4"
    flash_limit: int | None = None
    ram_limit: int | None = None
    clock_hz: int | None = None


@dataclass(frozen=True)
class Options:
    """The parsed options of one model. The fields are the one list of all options."""

    input_shape: tuple[int, ...] | None = option(
        "shape",
        None,
        "shape of one input without the batch axis, for files that do not state it (a "
        "state_dict, TorchScript, a pickled module); by default the shape of the calibration "
        "data",
        "1,32,32",
    )
    architecture: str | None = option(
        "path",
        None,
        "class or function that builds the network of a state_dict: file.py:Class. The "
        "compiler runs this file",
        "models/lenet5.py:LeNet5",
        names_file=True,
    )
    checkpoint_key: str | None = option(
        "text",
        None,
        "key of the network in a checkpoint that holds several, such as weights and their moving "
        "average; keys inside keys are joined by dots",
        "params_ema",
    )
    trust_pickle: bool = option(
        "flag",
        False,
        "open a pickled module that contains more than plain torch.nn layers. Unpickling runs "
        "code from the file: set this only for files that you made",
        "yes",
        permits=True,
    )
    calibration: str | None = option(
        "path",
        None,
        "an .npz with `inputs` of shape [samples, ...] (float32 as the network takes them, or "
        "uint8 images) and, for accuracy, `labels` of shape [samples]; with stateful, `inputs`"
        " of shape [streams, chunks, ...] and one label per stream",
        "data/calibration.npz",
        names_file=True,
    )
    input_mean: tuple[float, ...] | None = option(
        "numbers",
        None,
        "mean that the training subtracted from images scaled to 0..1: one number, or one per "
        "channel. With input_std, the model takes raw bytes. 0 if nothing was subtracted",
        "0.1307",
        decides_training=True,
    )
    input_std: tuple[float, ...] | None = option(
        "numbers",
        None,
        "standard deviation by which the training divided images scaled to 0..1; needs "
        "input_mean. 1 if it did not divide",
        "0.3081",
        decides_training=True,
    )
    sparsity: float | dict[str, float] | None = option(
        "sparsity",
        None,
        "share of weights to prune by magnitude: one number for all layers, or layer:number "
        "pairs; none disables pruning",
        "0.8 or conv1:0.5, fc1:0.9",
        in_header=Header.IF_SET,
    )
    prune: str = option(
        "choice",
        "layer",
        "what a single sparsity number applies to. layer: the same share of each layer; global: "
        "the smallest weights of the whole network; auto: the whole network, where each layer "
        "keeps the weights that matter most on the calibration data, and these are solved for. "
        "auto is the most accurate for its size, but often leaves convolutions dense, which take "
        "most of the cycles. It needs calibration data",
        "auto",
        choices=("layer", "global", "auto"),
        in_header=Header.IF_ONE_SPARSITY,
        needs=("one sparsity",),
    )
    distill: str | float = option(
        "minutes",
        0.0,
        "with prune = auto, how long the network learns from the original one on the calibration "
        "inputs while it is pruned, without labels: a number of minutes; auto, which takes up to "
        "ten minutes on two cores; or no. Only auto and no give the same result everywhere",
        "auto",
        in_header=Header.IF_SOLVED,
        needs=("one sparsity", "prune auto"),
    )
    encoding: str = option(
        "choice",
        "auto",
        "format of weights in flash: auto selects the cheapest for each layer, any other value"
        " is used for all layers",
        "delta",
        choices=("auto", *ENCODINGS),
        decides_training=True,
        in_header=Header.ALWAYS,
    )
    optimize: str = option(
        "choice",
        "balanced",
        "what the selection of kernels and encodings minimizes. size: flash, at up to several "
        "times the cycles; speed: cycles; balanced: their product. Retraining with "
        "max_accuracy_drop minimizes cycles if this is speed, otherwise bytes",
        "size",
        choices=("size", "speed", "balanced"),
        decides_training=True,
        in_header=Header.ALWAYS,
    )
    retrain: bool = option(
        "flag",
        False,
        "prune gradually while training on `data`, until the network meets the goals below, "
        "instead of pruning once without training. Takes minutes to hours, once. An interrupted "
        "build resumes",
        "yes",
        in_header=Header.IF_SET,
        needs=("training command",),
    )
    data: str | None = option(
        "path",
        None,
        "training data: an .npz with `inputs` and `labels` like the calibration file, a tenth "
        "of which is held out for validation, or file.py:function, called as function('train')"
        " and function('validation') to yield batches (inputs, labels). The compiler runs that"
        " file",
        "data/train.npz or train.py:batches",
        names_file=True,
        needs=("data are read",),
    )
    max_accuracy_drop: float | None = option(
        "points",
        None,
        "percentage points of accuracy that the int8 network may lose compared with the float "
        "network: a goal of retraining, on the validation samples. Without retraining, the build "
        "fails if the network loses more on the calibration samples",
        "0.5",
        in_header=Header.IF_RETRAINED,
        needs=("training command",),
    )
    parameter_budget: int | None = option(
        "bytes",
        None,
        "bytes of flash for weights, indices, biases, scales and tables: a goal of retraining. "
        "Without retraining, the build fails if the network needs more",
        "3291 or 4K",
        in_header=Header.IF_RETRAINED,
    )
    flash_budget: int | None = option(
        "bytes",
        None,
        "bytes of flash for parameters and the code of the model's kernels: a goal of "
        "retraining. Without retraining, the build fails if the network needs more",
        "8K",
        in_header=Header.IF_RETRAINED,
    )
    cycle_budget: int | None = option(
        "cycles",
        None,
        "estimated cycles of an inference on the target CPU, as in the report: a goal of "
        "retraining. Without retraining, the build fails if the network needs more. K and M are "
        "thousands and millions. Works best with optimize = speed",
        "150000 or 150K",
        in_header=Header.IF_RETRAINED,
    )
    method: str = option(
        "choice",
        "gradual",
        "how retraining prunes: gradual prunes all layers together in small steps, with "
        "codebooks and fake quantization; level prunes the same share of every layer at once "
        "and finds the highest share by binary search (Dogan et al., arXiv 2103.15972)",
        "level",
        choices=("gradual", "level"),
        decides_training=True,
        in_header=Header.IF_RETRAINED,
        needs=("retraining",),
    )
    epochs: int = option(
        "count",
        20,
        "passes over the data per training",
        "60",
        decides_training=True,
        in_header=Header.IF_RETRAINED,
        needs=("retraining",),
    )
    trials: int | None = option(
        "count",
        None,
        "number of trainings that the search may run; by default 6 if max_accuracy_drop is a "
        "goal, 3 if flash_budget is, otherwise 1",
        "20",
        needs=("retraining", "a search"),
    )
    early_stop: str = option(
        "choice",
        "none",
        "rule by which the search ends a training early if it is worse than earlier ones: "
        "median or hyperband, as Optuna defines them; none trains all to the end",
        "median",
        choices=("none", "median", "hyperband"),
        needs=("retraining", "several trials"),
    )
    seed: int = option(
        "count",
        0,
        "seed of all random numbers in retraining",
        "1",
        decides_training=True,
        in_header=Header.IF_RETRAINED,
        needs=("retraining",),
    )
    study: str | None = option(
        "path",
        None,
        "folder, or URL of a database, in which the search stores its trials. Machines with "
        "the same study share the work. By default a folder next to the result",
        "lenet5.study",
        decides_result=False,
        needs=("retraining",),
    )
    labels: tuple[str, ...] | str | None = option(
        "labels",
        None,
        "names of the classes: a text file with one name per line, or a comma-separated list",
        "data/labels.txt",
        names_file=True,
        needs=("compiling",),
    )
    stateful: bool = option(
        "flag",
        False,
        "each input is the next chunk of a stream: GRU and LSTM keep their state, and causal "
        "convolutions (padded only before the first time step) read previous inputs instead of"
        " zeros",
        "yes",
        in_header=Header.IF_SET,
    )
    self_test: int = option(
        "count",
        0,
        "number of golden vectors (calibration samples and their expected outputs) to store in "
        "flash for selfTest(), which first compares a CRC-32 of all constants",
        "2",
        needs=("compiling",),
    )
    self_test_layers: bool = option(
        "flag",
        False,
        "selfTest() also compares the output of each layer of the golden vectors, and "
        "selfTestResult() names the first layer that differs; needs self_test",
        "yes",
        needs=("compiling",),
    )
    import_seconds: int = option(
        "count",
        10,
        "seconds of processor time that the Python file of `architecture` or `data`, or of a "
        "class in a trusted pickle, may take to define its class or function; 0 for no limit. A "
        "file that takes longer probably trains, which belongs under "
        '`if __name__ == "__main__":`',
        "60",
        decides_result=False,
        permits=True,
        needs=("a Python file",),
    )
    open_memory: int = option(
        "count",
        1024,
        "megabytes of memory that opening the model file may take. It bounds what a damaged or "
        "hostile file can do. The number of weights and the size of a layer's output are limited "
        "in proportion: by default to 33 million weights and 8 million values",
        "4096",
        decides_result=False,
        permits=True,
    )
    open_seconds: int = option(
        "count",
        25,
        "seconds of processor time that opening the model file may take",
        "120",
        decides_result=False,
        permits=True,
    )
    open_layers: int = option(
        "count",
        5000,
        "layers that the model file may have",
        "20000",
        decides_result=False,
        permits=True,
    )
    python: str | None = option(
        "path",
        None,
        "the Python that has torch; by default the first of $DEEPCOMPRESS_PYTHON, PlatformIO's"
        " own, the active environment, the project's .venv, python3 on the PATH",
        "/home/me/torch/bin/python",
        decides_result=False,
        needs=("a build",),
    )
    target: Target = field(default_factory=Target)


OPTIONS: tuple[Option, ...] = tuple(
    Option(name=field.name, default=field.default, **field.metadata)
    for field in fields(Options)
    if field.metadata
)
BY_NAME: dict[str, Option] = {option.name: option for option in OPTIONS}


def header_lines(options: Options) -> list[str]:
    """`name = value` of each option that the header of generated files lists."""
    listed = {
        Header.NEVER: False,
        Header.IF_SET: True,
        Header.IF_ONE_SPARSITY: isinstance(options.sparsity, float) and not options.retrain,
        Header.IF_SOLVED: (
            isinstance(options.sparsity, float) and not options.retrain and options.prune == "auto"
        ),
        Header.IF_RETRAINED: options.retrain,
        Header.ALWAYS: True,
    }
    shown = [option for option in OPTIONS if listed[option.in_header]]
    shown.sort(key=lambda option: option.in_header is Header.ALWAYS)
    values = [(option.name, getattr(options, option.name)) for option in shown]
    return [
        f"{name} = {'yes' if value is True else value}"
        for name, value in values
        if value is not None and value is not False
    ]


def training_facts(options: Options) -> dict[str, Any]:
    """The options that decide a training: trials made with other values are not comparable."""
    return {
        option.name: getattr(options, option.name) for option in OPTIONS if option.decides_training
    }


def parse(texts: Mapping[str, str], *, where: str, target: Target | None = None) -> Options:
    """Options from their texts.

    Args:
        texts: option name -> text, as written in the ini or on the command line.
        where: how to name the place in an error, such as "platformio.ini [env:nucleo]".

    Raises:
        UserError: an unknown option, or a text that does not parse.
    """
    values: dict[str, Any] = {}
    for name, text in texts.items():
        option = BY_NAME.get(name)
        if option is None:
            raise UserError(
                f"there is no option {name}{did_you_mean(name, BY_NAME)}",
                where,
                "The options are " + ", ".join(sorted(BY_NAME)),
            )
        if text.strip():
            values[name] = parse_one(option, text.strip(), where=where)
    return Options(**values, target=target or Target())


def parse_one(option: Option, text: str, *, where: str) -> Any:
    """The value of one option from its text. Raises UserError."""
    try:
        return _PARSERS[option.kind](option, user_path(text) if option.is_path else text)
    except ValueError as error:
        raise UserError(
            f"{setting(option.name, repr(text))} {error}",
            where,
            f"Write for example {setting(option.name, option.example)}",
        ) from None


_QUOTED = re.compile(r"""(["'])(?P<path>.*)\1(?P<name>:\w+)?""")


def user_path(text: str) -> str:
    """A path as users write it: without quotes, and with ~ as the home folder.

    The quotes may be around the path of `path:name` alone.
    """
    text = text.strip()
    if quoted := _QUOTED.fullmatch(text):
        text = quoted["path"].strip() + (quoted["name"] or "")
    if not text.startswith("~"):
        return text  # also a URL, whose slashes Path would change
    try:
        return str(Path(text).expanduser())
    except RuntimeError:  # there is no such user
        return text


INI_PREFIX = "custom_deepcompress_"


def _as_flag(name: str, value: str | None) -> str:
    flag = f"--{name.replace('_', '-')}"
    return flag if value is None else f"{flag} {value}"


def _as_ini_key(name: str, value: str | None) -> str:
    return plain(INI_PREFIX + name, value)


def _as_cmake_argument(name: str, value: str | None) -> str:
    return name.upper() if value is None else f"{name.upper()} {value}"


# How users write options: on the command line, in platformio.ini, in deepcompress_model().
SPELLINGS: dict[str, Spelling] = {
    "flags": _as_flag,
    "ini": _as_ini_key,
    "cmake": _as_cmake_argument,
}


def _shape(_: Option, text: str) -> tuple[int, ...]:
    parts = [part for part in re.split(r"[,x\s]+", text.strip("()[] ")) if part]
    if not parts or any(not part.isdigit() or int(part) == 0 for part in parts):
        raise ValueError("is not a list of sizes")
    return tuple(int(part) for part in parts)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("is not a number") from None


def _numbers(_: Option, text: str) -> tuple[float, ...]:
    return tuple(_number(part) for part in re.split(r"[,\s]+", text.strip("()[] ")) if part)


def _fraction(text: str) -> float:
    value = _number(text[:-1]) / 100 if text.endswith("%") else _number(text)
    if not 0 <= value < 1:
        raise ValueError("is out of range: a sparsity is at least 0 and below 1")
    return value


def _sparsity(_: Option, text: str) -> float | dict[str, float] | None:
    if text.lower() == "none":
        return None
    if ":" not in text:
        return _fraction(text)
    pairs = [part.split(":") for part in re.split(r"[,\s]+", text.replace(": ", ":")) if part]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError("is not a list of layer:number pairs")
    return {layer: _fraction(value) for layer, value in pairs}


def _flag(_: Option, text: str) -> bool:
    words = dict.fromkeys(("yes", "true", "on", "1"), True)
    words.update(dict.fromkeys(("no", "false", "off", "0"), False))
    if text.lower() not in words:
        raise ValueError("is neither yes nor no")
    return words[text.lower()]


def _choice(option: Option, text: str) -> str:
    if text.lower() not in option.choices:
        hint = did_you_mean(text.lower(), option.choices)
        raise ValueError(f"is none of {', '.join(option.choices)}{hint}")
    return text.lower()


def _count(_: Option, text: str) -> int:
    if not text.isdigit():
        raise ValueError("is not a whole number")
    return int(text)


def _points(_: Option, text: str) -> float:
    value = _number(text.rstrip("%"))
    if not 0 <= value < 100:
        raise ValueError("is out of range: a loss is in points of percent, at least 0")
    return value


def _minutes(_: Option, text: str) -> str | float:
    """A number above 0; 0.0 for "no"; "auto"."""
    if text.lower() == "auto":
        return "auto"
    if text.lower() == "no":
        return 0.0
    value = _number(text)
    if not 0 < value < 10_000:
        raise ValueError("is out of range: minutes are above 0")
    return value


def _bytes(_: Option, text: str) -> int:
    """Bytes; a suffix K or M multiplies by 1024 or 1024 * 1024."""
    return _amount(text, 1024)


def _cycles(_: Option, text: str) -> int:
    """Cycles; a suffix K or M multiplies by a thousand or a million."""
    return _amount(text, 1000)


def _amount(text: str, kilo: int) -> int:
    factor = {"k": kilo, "m": kilo * kilo}.get(text[-1].lower(), 1)
    value = _number(text if factor == 1 else text[:-1])
    if not 0 < value * factor < 2**32:
        raise ValueError("is out of range: it must be above 0 and fit 32 bits")
    return int(value * factor)


def _labels(_: Option, text: str) -> tuple[str, ...] | str:
    """A path stays a text, which `compile` reads; a list becomes a tuple."""
    parts = [part.strip() for part in re.split(r"[,\n]", text)]
    return tuple(part for part in parts if part) if len(parts) > 1 else user_path(text)


_PARSERS = {
    "shape": _shape,
    "text": lambda _, text: text,
    "path": lambda _, text: text,
    "flag": _flag,
    "numbers": _numbers,
    "sparsity": _sparsity,
    "choice": _choice,
    "labels": _labels,
    "count": _count,
    "points": _points,
    "minutes": _minutes,
    "bytes": _bytes,
    "cycles": _cycles,
}
