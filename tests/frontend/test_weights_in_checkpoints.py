"""Weights are found wherever a training stored them, and in whatever tensors they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from deepcompress.errors import UserError
from deepcompress.frontend.open_graph import open_graph
from deepcompress.options import Options
from model_files import SHAPE, assert_same_function, options
from torch import nn

State = dict[str, torch.Tensor]


def opens(content: object, net: nn.Module, folder: Path, tmp_path: Path, **more: object) -> None:
    torch.save(content, tmp_path / "model.pt")
    assert_same_function(tmp_path / "model.pt", options(folder, **more), net, 1e-5)


def refusal(content: object, folder: Path, tmp_path: Path, **more: object) -> str:
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(UserError) as error:
        open_graph(tmp_path / "model.pt", options(folder, **more), name="net")
    return str(error.value)


def noise(state: State) -> State:
    return {name: tensor + 1 for name, tensor in state.items()}


@pytest.fixture(scope="module")
def state(net: nn.Module) -> State:
    return net.state_dict()


KEYS = ("model_state", "params", "params_ema", "generator", "state", "ema_state_dict", "net_g", "0")


@pytest.mark.parametrize("key", KEYS)
def test_a_state_dict_opens_under_any_key(
    key: str, state: State, net: nn.Module, folder: Path, tmp_path: Path
) -> None:
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.zeros(1, *SHAPE)).sum().backward()
    optimizer.step_count = 1
    content = {"epoch": 3, key: state, "optimizer": optimizer.state_dict(), "loss": torch.ones(1)}
    opens(content, net, folder, tmp_path)


NESTED: dict[str, Callable[[State], object]] = {
    "keys in keys": lambda s: {"ema": {"decay": 0.9, "shadow": s}},
    "a tuple": lambda s: (s, {"lr": 0.1}),
    "two networks, of which one fits": lambda s: {"d": {"w": torch.zeros(3)}, "g": s},
    "the same weights twice": lambda s: {"model": s, "ema": {k: v.clone() for k, v in s.items()}},
    "next to an epoch": lambda s: {**s, "epoch": 3},
    "a wrapper inside": lambda s: {n.replace("conv.", "conv._orig_mod."): v for n, v in s.items()},
    "two wrappers": lambda s: {f"module._orig_mod.{n}": v for n, v in s.items()},
    "a wrapper before a framework's": lambda s: {
        **{f"_orig_mod.model.{n}": v for n, v in s.items()},
        "_orig_mod.loss": torch.ones(2),
    },
    "an average of weights": lambda s: {
        "n_averaged": torch.tensor(2),
        **{f"module.{n}": v for n, v in s.items()},
    },
}


@pytest.mark.parametrize("case", NESTED)
def test_weights_whose_names_match_are_found(
    case: str, state: State, net: nn.Module, folder: Path, tmp_path: Path
) -> None:
    opens(NESTED[case](state), net, folder, tmp_path)


def test_one_of_several_is_chosen_by_its_key(
    state: State, net: nn.Module, folder: Path, tmp_path: Path
) -> None:
    content = {"params": noise(state), "inner": {"params_ema": state}}
    text = refusal(content, folder, tmp_path)
    assert "it holds 2 sets of weights that differ: 'params', 'inner.params_ema'." in text
    assert "Choose one: checkpoint_key = inner.params_ema" in text
    opens(content, net, folder, tmp_path, checkpoint_key="inner.params_ema")
    text = refusal(content, folder, tmp_path, checkpoint_key="inner.params_em")
    assert "no network under the key 'inner.params_em' (did you mean inner.params_ema?)" in text


def test_one_of_several_modules_is_chosen_by_its_key(tmp_path: Path) -> None:
    torch.manual_seed(0)
    nets = {name: nn.Sequential(nn.Flatten(), nn.Linear(36, 3)) for name in ("model", "ema")}
    torch.save({**nets, "act": nn.ReLU()}, tmp_path / "model.pt")
    with pytest.raises(UserError, match="2 networks that differ: 'model', 'ema'"):
        open_graph(tmp_path / "model.pt", Options(input_shape=SHAPE), name="net")
    given = Options(input_shape=SHAPE, checkpoint_key="ema")
    assert_same_function(tmp_path / "model.pt", given, nets["ema"].eval(), 1e-5)


def test_a_module_of_the_settings_is_not_taken_for_the_network(
    state: State, folder: Path, tmp_path: Path
) -> None:
    content = {"state_dict": state, "hyper_parameters": {"act": nn.ReLU(), "head": nn.Linear(1, 1)}}
    text = refusal(content, folder, tmp_path, architecture=None)
    assert "it holds weights (conv.weight, conv.bias, fc.weight, ...) but not how they" in text


def test_a_module_gives_its_weights_to_an_architecture(
    net: nn.Module, folder: Path, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    parts = nn.ModuleDict({"conv": nn.Conv2d(1, 2, 3), "fc": nn.Linear(8, 3)})
    torch.save({"model": parts, "epoch": 1}, tmp_path / "model.pt")
    expected = type(net)().eval()
    expected.load_state_dict(parts.state_dict())
    assert_same_function(tmp_path / "model.pt", options(folder), expected, 1e-5)


def test_weights_that_do_not_fit_are_listed_for_the_key_that_fits_best(
    state: State, folder: Path, tmp_path: Path
) -> None:
    wrong = {**state, "fc.bias": torch.zeros(4)}
    text = refusal({"d": {"w": torch.zeros(3)}, "g": wrong}, folder, tmp_path)
    assert "its weights under 'g' are not those of" in text
    assert "fc.bias is [4], the network has [3]" in text


def test_weights_of_more_layers_than_the_architecture_has_are_refused(
    state: State, folder: Path, tmp_path: Path
) -> None:
    inside = {f"module.{name}": tensor for name, tensor in state.items()}
    inside["module.fc2.weight"] = torch.zeros(3, 3)
    assert "fc2.weight is not in the network" in refusal(inside, folder, tmp_path)


LAYOUTS = {
    "COO": lambda t: t.to_sparse(),
    "COO, not coalesced": lambda t: torch.sparse_coo_tensor(
        t.to_sparse().indices().repeat(1, 2), (t.to_sparse().values() / 2).repeat(2), t.shape
    ),
    "CSR": lambda t: t.to_sparse_csr(),
    "CSC": lambda t: t.to_sparse_csc(),
    "BSR": lambda t: t.to_sparse_bsr((1, 2)),
    "BSC": lambda t: t.to_sparse_bsc((1, 2)),
}


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_sparse_tensors_are_read_with_their_zeros(
    layout: str, net: nn.Module, folder: Path, tmp_path: Path
) -> None:
    pruned = type(net)().eval()
    with torch.no_grad():
        pruned.fc.weight[:, ::2] = 0
    state = {**pruned.state_dict(), "fc.weight": LAYOUTS[layout](pruned.fc.weight.detach())}
    opens(state, pruned, folder, tmp_path)
    graph = open_graph(tmp_path / "model.pt", options(folder), name="net")
    (weight,) = [node.parameters["weight"] for node in graph.nodes if node.name == "fc"]
    assert ((weight != 0) == (pruned.fc.weight != 0).numpy()).all()


@pytest.mark.filterwarnings("ignore:Sparse")
def test_a_pickled_module_with_a_sparse_weight_opens(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(36, 3)).eval()
    dense = module[1].weight.detach()
    torch.manual_seed(0)
    module[1].weight = nn.Parameter((dense * (dense > 0)).to_sparse())
    torch.save(module, tmp_path / "model.pt")
    module[1].weight = nn.Parameter(dense * (dense > 0))
    assert_same_function(tmp_path / "model.pt", Options(input_shape=SHAPE), module, 1e-5)


def test_a_small_sparse_tensor_of_a_huge_size_is_not_made_dense(
    state: State, folder: Path, tmp_path: Path
) -> None:
    huge = torch.sparse_coo_tensor(torch.zeros(2, 1, dtype=torch.long), [1.0], (10**7, 10**7))
    text = refusal({**state, "fc.weight": huge}, folder, tmp_path)
    assert "fc.weight is [10000000, 10000000], the network has [3, 8]" in text


@pytest.mark.parametrize(
    ("convert", "complaint"),
    [
        (lambda t: t.to(torch.complex64), "fc.weight holds complex numbers"),
        (lambda t: t.to("meta"), "fc.weight has no values"),
    ],
)
def test_tensors_without_real_values_are_refused(
    convert: Callable, complaint: str, state: State, folder: Path, tmp_path: Path
) -> None:
    content = {**state, "fc.weight": convert(state["fc.weight"])}
    assert complaint in refusal(content, folder, tmp_path)


def test_old_batch_normalization_without_a_counter_opens(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "norm.py").write_text(
        "from torch import nn\n"
        "def net(): return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))\n"
    )
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).eval()
    state = {n: t for n, t in net.state_dict().items() if "num_batches" not in n}
    opens(state, net, folder, tmp_path, architecture=f"{tmp_path}/norm.py:net")


def test_older_weight_norm_opens_in_the_newer_one(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "normed.py").write_text(
        "from torch import nn\n"
        "def net():\n"
        "    return nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 2, 3)))\n"
    )
    net = nn.Sequential(nn.Conv2d(1, 2, 3)).eval()
    weight = net[0].weight.detach()
    norm = weight.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
    state = {"0.bias": net[0].bias.detach(), "0.weight_g": norm, "0.weight_v": weight}
    opens(state, net, folder, tmp_path, architecture=f"{tmp_path}/normed.py:net")
