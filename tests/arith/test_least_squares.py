"""The masked solution has the least squared error of all weights with that mask."""

from __future__ import annotations

import numpy as np
import torch
from deepcompress.arith.least_squares import solve_masked


def test_the_solution_is_that_of_numpy_on_the_columns_that_are_kept() -> None:
    random = np.random.default_rng(0)
    inputs, weight = random.standard_normal((200, 12)), random.standard_normal((5, 12))
    mask = (random.uniform(size=weight.shape) < 0.6).astype(np.float64)
    hessian = torch.tensor(inputs.T @ inputs)[None]
    right = torch.tensor(weight)[None] @ hessian
    found = solve_masked(torch.tensor(weight)[None], torch.tensor(mask)[None], hessian, right)
    for row, kept, solved in zip(weight, mask > 0, found[0].numpy(), strict=True):
        expected = np.linalg.lstsq(inputs[:, kept], inputs @ row, rcond=None)[0]
        np.testing.assert_allclose(solved[kept], expected, rtol=1e-3, atol=1e-4)
        assert not solved[~kept].any()


def test_weights_that_need_no_change_stay() -> None:
    hessian = torch.eye(4, dtype=torch.float64)[None]
    weight = torch.tensor([[[1.0, 2, 0, -3]]], dtype=torch.float64)
    mask = (weight != 0).double()
    assert torch.equal(solve_masked(weight, mask, hessian, weight @ hessian), weight)


def test_a_row_without_weights_gives_zeros() -> None:
    hessian = torch.eye(3, dtype=torch.float64)[None]
    weight = torch.ones(1, 2, 3, dtype=torch.float64)
    mask = torch.tensor([[[0.0, 0, 0], [1, 1, 0]]], dtype=torch.float64)
    found = solve_masked(weight, mask, hessian, weight @ hessian)
    assert not found[0, 0].any() and torch.allclose(found[0, 1], mask[0, 1])
