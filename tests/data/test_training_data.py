"""Training data from .npz files and from functions of the user: splits and errors."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from deepcompress.data.byte_scaling import ByteScaling
from deepcompress.data.training_data import Samples, check_samples, read_samples
from deepcompress.errors import UserError
from deepcompress.ir.graph import Graph, Tensor

CLASSES = 4


def save(path: Path, **changes: object) -> Path:
    generator = np.random.default_rng(0)
    arrays = {
        "inputs": generator.standard_normal((200, 2, 3)).astype(np.float32),
        "labels": np.arange(200) % CLASSES,
        **changes,
    }
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


def batches(samples: Samples, index: int, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(x.numpy(), y.numpy()) for x, y in samples.epoch(index, seed=seed, batch=32)]


def same(one: list, other: list) -> bool:
    return all(
        np.array_equal(a, b)
        for p, q in zip(one, other, strict=True)
        for a, b in zip(p, q, strict=True)
    )


def function(folder: Path, body: str, name: str = "batches") -> str:
    (folder / "data.py").write_text(f"import numpy as np, torch, random\n{body}")
    return f"{folder / 'data.py'}:{name}"


GOOD = """
def batches(part):
    for _ in range(3 if part == "train" else 1):
        x = torch.randn(8, 5) + random.random() + np.random.rand()
        yield x, torch.arange(8) % 4
"""


def test_a_tenth_of_every_class_is_held_out_and_the_rest_trains(tmp_path: Path) -> None:
    samples = read_samples(str(save(tmp_path / "d.npz")), None)
    inputs, labels = samples.validation
    assert np.bincount(labels).tolist() == [5] * CLASSES
    trained = np.concatenate([x for x, _ in batches(samples, 0)])
    assert len(trained) == 180
    rows = {row.tobytes() for row in np.concatenate([trained, inputs])}
    assert len(rows) == 200


def test_a_class_of_few_samples_is_held_out_too(tmp_path: Path) -> None:
    labels = np.concatenate([np.zeros(195, int), [1, 1, 2, 3, 3]])
    samples = read_samples(str(save(tmp_path / "d.npz", labels=labels)), None)
    assert np.bincount(samples.validation[1], minlength=4).tolist() == [20, 1, 0, 1]


def test_an_epoch_is_the_same_each_time_and_unlike_the_next(tmp_path: Path) -> None:
    samples = read_samples(str(save(tmp_path / "d.npz")), None)
    assert same(batches(samples, 3), batches(samples, 3))
    assert not same(batches(samples, 3), batches(samples, 4))
    assert not same(batches(samples, 3), batches(samples, 3, seed=1))


def test_bytes_are_scaled_as_for_calibration(tmp_path: Path) -> None:
    images = np.full((200, 1, 2, 2), 200, np.uint8)
    path = save(tmp_path / "d.npz", inputs=images)
    samples = read_samples(str(path), ByteScaling(np.array([0.01]), np.array([100.0])))
    assert samples.validation[0] == pytest.approx(1.0)


def test_validation_arrays_of_the_file_are_used(tmp_path: Path) -> None:
    own = {
        "validation_inputs": np.zeros((7, 2, 3), np.float32),
        "validation_labels": np.arange(7) % 4,
    }
    samples = read_samples(str(save(tmp_path / "d.npz", **own)), None)
    assert len(samples.validation[1]) == 7
    assert sum(len(y) for _, y in batches(samples, 0)) == 200


def test_a_function_yields_the_same_for_the_same_seed_whatever_happens_outside(
    tmp_path: Path,
) -> None:
    samples = read_samples(function(tmp_path, GOOD), None)
    first = batches(samples, 2)
    torch.rand(5), np.random.rand(5), random.random()
    assert len(first) == 3
    assert same(first, batches(samples, 2))
    assert not same(first, batches(samples, 1))


def test_a_function_does_not_disturb_the_random_numbers_of_others(tmp_path: Path) -> None:
    samples = read_samples(function(tmp_path, GOOD), None)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    drawn = [
        torch.rand(1) for _, _ in zip(range(3), samples.epoch(0, seed=0, batch=8), strict=False)
    ]
    torch.testing.assert_close(torch.cat(drawn), expected)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"labels": None}, "no array `labels`"),
        ({"inputs": None, "input": np.zeros((3, 2))}, "did you mean input"),
        ({"labels": np.zeros(200)}, "`labels` is float64"),
        ({"inputs": np.full((200, 3), np.nan, np.float32)}, "NaN"),
        ({"inputs": np.zeros((8, 3), np.float32), "labels": np.zeros(8, int)}, "it has 8 samples"),
        ({"labels": np.arange(200)}, "200 samples of 200 classes, too few to hold some of each"),
        ({"labels": np.arange(200) % 4 - 1}, "`labels` holds -1, first in sample 0"),
        (
            {"validation_inputs": np.zeros((9, 5)), "validation_labels": np.zeros(9, int)},
            "`inputs` is [200, 2, 3], `validation_inputs` [9, 5]",
        ),
    ],
)
def test_a_wrong_file_is_reported_in_a_paragraph(
    tmp_path: Path, changes: dict, complaint: str
) -> None:
    path = save(tmp_path / "d.npz", **changes)
    with pytest.raises(UserError) as error:
        read_samples(str(path), None)
    assert complaint in error.value.paragraph()
    assert "data file" in error.value.paragraph()


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("def batch(part): yield 1", "has no batches (did you mean batch?)"),
        ("def batches(part) yield 1", "SyntaxError: expected ':' (data.py, line 2))"),
        ("1 / 0", "failed (ZeroDivisionError: division by zero, data.py:2)"),
        ("def batches(part): raise OSError('no disk')", "OSError: no disk, data.py:2"),
        ("def batches(part): return np.load('gone.npz')", "'gone.npz', data.py:2)"),
        ("def batches(part): return None", "'NoneType' object is not iterable). Fix"),
        ("def batches(part):\n  yield np.zeros((2, 3)), np.zeros(2, int)\n  boom", "NameError"),
        ("def batches(part): return []", "batches('validation') yielded nothing"),
        ("def batches(part): yield np.zeros((2, 3))", "yielded a ndarray"),
        ("def batches(part): yield None", "yielded a NoneType"),
        ("def batches(part): yield [[1.0], [1.0, 2.0]], [0, 1]", "inhomogeneous shape"),
        (
            "def batches(part): yield torch.zeros(2, 3, requires_grad=True), torch.arange(2)",
            "Use tensor.detach().numpy() instead",
        ),
        ("def batches(part): yield np.zeros((0, 3)), np.zeros(0, int)", "float64 [0, 3]"),
        ("def batches(part): yield np.zeros((2, 3), int), np.zeros(2, int)", "inputs of int64"),
        ("def batches(part): yield np.zeros((2, 3)), np.zeros(2)", "labels of float64 [2]"),
        ("def batches(part): yield np.zeros((2, 3)), np.zeros(3, int)", "[3] for 2 inputs"),
        ("def batches(part): yield np.full((2, 3), np.inf), np.zeros(2, int)", "infinity"),
        ("def batches(part): yield np.zeros((2, 3)), np.array([0, -1])", "yielded the label -1"),
        (
            "def batches(part):\n  for n in 3, 4: yield np.zeros((2, n)), np.zeros(2, int)",
            "inputs of [2, 4] after [samples, 3]",
        ),
        (
            "def batches(part): yield np.zeros((2, 3 + (part == 'train'))), np.zeros(2, int)",
            "batches('train') yielded inputs of [2, 4] after [samples, 3]",
        ),
    ],
)
def test_a_wrong_function_is_reported_in_a_paragraph(
    tmp_path: Path, body: str, complaint: str
) -> None:
    with pytest.raises(UserError) as error:
        read_samples(function(tmp_path, body), None)
    assert complaint in error.value.paragraph()


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("data.py", "it does not name a function or class of the file"),
        ("dta.py:f", "did you mean data.py?"),
    ],
)
def test_a_missing_function_is_reported(tmp_path: Path, name: str, complaint: str) -> None:
    function(tmp_path, GOOD)
    with pytest.raises(UserError) as error:
        read_samples(str(tmp_path / name), None)
    assert complaint in error.value.paragraph()


def test_a_missing_data_file_suggests_its_neighbour(tmp_path: Path) -> None:
    save(tmp_path / "train.npz")
    with pytest.raises(UserError, match=r"did you mean train.npz"):
        read_samples(str(tmp_path / "trian.npz"), None)


@pytest.mark.parametrize(
    ("inputs", "outputs", "complaint"),
    [
        ((2, 3), 3, "it has labels up to 3, the model has 3 outputs"),
        ((3, 2), 4, "its samples have the shape 2x3, the model's input is 3x2"),
    ],
)
def test_samples_that_are_not_the_networks_are_reported(
    tmp_path: Path, inputs: tuple[int, ...], outputs: int, complaint: str
) -> None:
    samples = read_samples(str(save(tmp_path / "d.npz")), None)
    tensors = {"x": Tensor("x", inputs), "y": Tensor("y", (outputs,))}
    with pytest.raises(UserError) as error:
        check_samples(samples, Graph("net", tensors, (), ("x",), ("y",)), "d.npz")
    assert complaint in error.value.paragraph()


def test_a_label_that_only_the_training_split_has_is_checked(tmp_path: Path) -> None:
    labels = np.arange(200) % CLASSES
    labels[7] = 9
    yields = "  yield torch.zeros(10, 2, 3), torch.arange(10) * (part == 'train')"
    tensors = {"x": Tensor("x", (2, 3)), "y": Tensor("y", (CLASSES,))}
    for data in (
        str(save(tmp_path / "d.npz", labels=labels)),
        function(tmp_path, f"def batches(part):\n{yields}"),
    ):
        with pytest.raises(UserError, match="labels up to 9, the model has 4 outputs"):
            check_samples(read_samples(data, None), Graph("net", tensors, (), ("x",), ("y",)), data)
