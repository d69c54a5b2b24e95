"""No option is accepted and ignored: it changes the result, or there is an error or a warning."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from deepcompress.compile import compile_model
from deepcompress.errors import UserError
from deepcompress.frontend.frontend import OPTIONS_OF_FILES
from deepcompress.options import BY_NAME, OPTIONS, Options, parse
from deepcompress.report.unused_options import _CONDITIONS, Use, unused_options

SHAPE = (1, 6, 6)
NET = """
import numpy as np
from torch import nn

def net():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))

def batches(part):
    yield np.zeros((60, 1, 6, 6), "f"), np.arange(60) % 3
"""

# A value of each option that is not its default. FOLDER is the folder of the files.
SET = {
    "input_shape": "1,7,7",
    "architecture": "FOLDER/net.py:net",
    "checkpoint_key": "ema",
    "trust_pickle": "yes",
    "calibration": "FOLDER/other.npz",
    "input_mean": "0.4",
    "input_std": "0.7",
    "sparsity": "0.5",
    "prune": "global",
    "distill": "0.01",
    "encoding": "delta",
    "optimize": "size",
    "retrain": "yes",
    "data": "FOLDER/net.py:batches",
    "max_accuracy_drop": "0",
    "parameter_budget": "100",
    "flash_budget": "200",
    "cycle_budget": "300",
    "method": "level",
    "epochs": "3",
    "trials": "2",
    "early_stop": "median",
    "seed": "1",
    "study": "FOLDER/a.study",
    "labels": "cat, dog, cow",
    "stateful": "yes",
    "self_test": "2",
    "self_test_layers": "yes",
    "import_seconds": "5",
    "open_memory": "2048",
    "open_seconds": "50",
    "open_layers": "6000",
    "python": "/usr/bin/python3",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """net.pt is a state_dict, net.pt2 an exported program; two calibration files of bytes."""
    folder = tmp_path_factory.mktemp("options")
    (folder / "net.py").write_text(NET)
    namespace: dict = {}
    exec(NET, namespace)
    torch.manual_seed(0)
    net = namespace["net"]().eval()
    torch.save(net.state_dict(), folder / "net.pt")
    torch.export.save(torch.export.export(net, (torch.zeros(1, *SHAPE),)), folder / "net.pt2")
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (40, *SHAPE), dtype=np.uint8)
    with torch.no_grad():
        best = net(torch.from_numpy((images / 255 - 0.5).astype(np.float32))).argmax(1).numpy()
    # The float network is right for all of these, so that int8 is wrong for some.
    np.savez(folder / "data.npz", inputs=images, labels=best)
    np.savez(folder / "other.npz", inputs=images[:5] // 2)
    return folder


def base(folder: Path, file: str) -> dict[str, str]:
    given = {"calibration": f"{folder}/data.npz", "input_mean": "0.5", "input_std": "1"}
    given |= {"sparsity": "0.4", "encoding": "dense"}
    return given | ({"architecture": f"{folder}/net.py:net"} if file == "net.pt" else {})


def outcome(folder: Path, file: str, texts: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """The generated sources without comments, and the warnings."""
    options = parse(texts, where="test")
    compiled = compile_model(folder / file, name="net", options=options)
    sources = {
        name: re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
        for name, text in compiled.texts.items()
        if not name.startswith("report")
    }
    return sources, compiled.report["warnings"]


@pytest.fixture(scope="module", params=["net.pt", "net.pt2"])
def without(request: pytest.FixtureRequest, folder: Path) -> tuple[str, dict[str, str]]:
    """A model file, and what compiling it gives without further options."""
    sources, warnings = outcome(folder, request.param, base(folder, request.param))
    assert not any("no effect" in warning for warning in warnings)
    return request.param, sources


def test_the_table_has_a_value_for_every_option() -> None:
    assert set(SET) == set(BY_NAME)
    assert {need for option in OPTIONS for need in option.needs} <= set(_CONDITIONS)


@pytest.mark.parametrize("name", SET)
def test_an_option_changes_the_result_or_there_is_an_error_or_a_warning(
    name: str, folder: Path, without: tuple[str, dict[str, str]]
) -> None:
    file, sources = without
    text = SET[name].replace("FOLDER", str(folder))
    given = base(folder, file) | {name: text}
    try:
        with_option, warnings = outcome(folder, file, given)
    except UserError:
        return
    warned = any(f"option {name} has no effect" in warning for warning in warnings)
    changed = with_option != sources
    permits = BY_NAME[name].permits or base(folder, file).get(name) == text
    assert changed or warned or permits
    assert not (changed and warned)


FULL = Options(
    architecture="net.py:net",
    retrain=True,
    data="net.py:batches",
    max_accuracy_drop=1.0,
    epochs=3,
    trials=4,
    early_stop="median",
    seed=1,
    study="a.study",
    labels=("a", "b"),
    self_test=1,
    import_seconds=5,
    trust_pickle=True,
    checkpoint_key="ema",
    input_shape=SHAPE,
    optimize="size",
)


def names(options: Options, command: str, kind: str = "pickle") -> set[str]:
    reads = OPTIONS_OF_FILES if kind == "pickle" else ("input_shape",)
    found = unused_options(options, Use(command, kind, reads))
    return {warning.split()[2] for warning in found}


@pytest.mark.parametrize(
    ("options", "command", "kind", "unused"),
    [
        (FULL, "compile", "pickle", set()),
        (Options(), "compile", "pickle", set()),
        (FULL, "compile", "TorchScript", {"architecture", "trust_pickle", "checkpoint_key"}),
        (FULL, "prune", "pickle", {"labels", "self_test"}),
        (replace(FULL, retrain=False), "prune", "pickle", {"labels", "self_test"}),
        (
            replace(FULL, retrain=False, calibration="a.npz"),
            "compile",
            "pickle",
            {"data", "epochs", "trials", "early_stop", "seed", "study"},
        ),
        (replace(FULL, trials=1), "compile", "pickle", {"early_stop"}),
        (replace(FULL, max_accuracy_drop=None, trials=None), "compile", "pickle", {"early_stop"}),
        (replace(FULL, sparsity=0.5, prune="global"), "compile", "pickle", {"prune"}),
        (Options(sparsity={"fc": 0.5}, prune="global"), "compile", "pickle", {"prune"}),
        (Options(sparsity=0.5, prune="global"), "check", "pickle", set()),
        (Options(python="python3", import_seconds=5), "compile", "pickle",
         {"python", "import_seconds"}),
        (Options(retrain=True, max_accuracy_drop=1.0, labels=("a",)), "check", "pickle",
         {"retrain", "max_accuracy_drop", "labels"}),
    ],
)  # fmt: skip
def test_a_command_warns_of_the_options_that_it_does_not_use(
    options: Options, command: str, kind: str, unused: set[str]
) -> None:
    assert names(options, command, kind) == unused
