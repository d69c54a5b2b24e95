"""A network over a budget is refused without retraining, with what would meet it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from deepcompress.cli.main import main
from deepcompress.compile import compile_model
from deepcompress.errors import UserError
from deepcompress.options import parse
from torch import nn


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10)).eval()
    path = tmp_path_factory.mktemp("budgets") / "net.pt"
    torch.export.save(torch.export.export(net, (torch.zeros(1, 64),)), path)
    inputs = torch.randn(200, 64)
    labels = net(inputs).argmax(1).numpy()
    np.savez(path.with_name("labelled.npz"), inputs=inputs.numpy(), labels=labels)
    np.savez(path.with_name("plain.npz"), inputs=inputs.numpy())
    return path


def report(model: Path, data: str = "plain.npz", **texts: str) -> dict:
    texts = {"calibration": str(model.with_name(data)), **texts}
    return compile_model(model, name="net", options=parse(texts, where="test")).report


def needs(facts: dict) -> dict[str, int]:
    flash = facts["flash"]
    return {
        "parameter_budget": flash["weights_bytes"],
        "flash_budget": flash["weights_bytes"] + flash["code_bytes"],
        "cycle_budget": facts["cycles"],
    }


@pytest.mark.parametrize("budget", ["parameter_budget", "flash_budget", "cycle_budget"])
def test_a_budget_is_met_or_the_advice_meets_it(budget: str, model: Path) -> None:
    needed = needs(report(model))[budget]
    report(model, **{budget: str(needed)})
    with pytest.raises(UserError) as error:
        report(model, **{budget: str(needed - 1)})
    what, do = error.value.what, str(error.value)
    assert f"it needs {needed:,} " in what
    assert f"1 more than the {needed - 1:,} of" in what
    half = str(needed // 2)
    with pytest.raises(UserError) as error:
        report(model, **{budget: half})
    do = str(error.value)
    sparsity, optimize = re.search(r"sparsity = (\S+) and optimize = (\w+)", do).groups()
    met = report(model, **{budget: half, "sparsity": sparsity, "optimize": optimize})
    assert needs(met)[budget] <= int(half)


def test_a_budget_that_no_sparsity_meets_is_said_to_be_too_small(model: Path) -> None:
    with pytest.raises(UserError, match=r"No sparsity alone meets it.*retrain = yes"):
        report(model, flash_budget="100")


def test_golden_vectors_do_not_count_as_the_budgets_of_retraining_do_not_count_them(
    model: Path,
) -> None:
    needed = needs(report(model))["flash_budget"]
    report(model, flash_budget=str(needed), self_test="3")


def test_a_loss_of_accuracy_is_measured_or_refused(model: Path) -> None:
    with pytest.raises(UserError, match="no labels to measure the accuracy with"):
        report(model, max_accuracy_drop="1")
    report(model, "labelled.npz", max_accuracy_drop="20")
    with pytest.raises(UserError, match=r"it loses \d+\.\d+ points of accuracy \(100\.00% float"):
        report(model, "labelled.npz", max_accuracy_drop="1", sparsity="0.95")


def test_check_reports_a_budget_like_a_board_that_is_too_small(
    model: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["check", str(model), "--flash-budget", "2K"]) == 1
    assert "of --flash-budget" in " ".join(capsys.readouterr().out.split())


def test_nothing_is_written_over_a_budget(model: Path, tmp_path: Path) -> None:
    assert main(["compile", str(model), "-o", str(tmp_path / "out"), "--flash-budget", "2K"]) == 1
    assert not (tmp_path / "out").exists()
