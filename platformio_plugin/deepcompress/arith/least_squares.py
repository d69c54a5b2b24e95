"""Least squares with a mask: the weights that remain are solved for on statistics of the inputs.

A layer computes `rows @ weight.T`. Changed weights V on changed inputs Q should give what the
original weights W give on the original inputs X. With H = Q^T Q / n and C = X^T Q / n, the error is
smallest where (V H - W C) is zero at every weight that is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_TOLERANCE = 1e-5  # of the residual, in relation to the first right-hand side


def solve_masked(
    start: torch.Tensor,
    mask: torch.Tensor,
    hessian: torch.Tensor,
    right: torch.Tensor,
    *,
    iterations: int = 200,
) -> torch.Tensor:
    """The weights V with V @ hessian = right where the mask is 1, and zero elsewhere.

    Conjugate gradients, all rows at once, with the diagonal as preconditioner. (A factorization
    per row, as in Optimal Brain Compression, arXiv 2208.11580, costs columns^3 for each row.)

    Args:
        start: float [groups, rows, columns], the first guess.
        mask: 0 or 1, [groups, rows, columns].
        hessian: float [groups, columns, columns], positive definite.
        right: float [groups, rows, columns].
        iterations: the most that are done.
    """
    import torch

    inverse = 1 / torch.diagonal(hessian, dim1=1, dim2=2)[:, None]
    solution = start * mask
    residual = (right - solution @ hessian) * mask
    direction = residual * inverse
    product = (residual * direction).sum(2, keepdim=True)
    limit = _TOLERANCE**2 * ((right * mask).square() * inverse).sum(2, keepdim=True)
    for _ in range(iterations):
        active = product > limit
        if not bool(active.any()):
            break
        image = (direction @ hessian) * mask
        curvature = (direction * image).sum(2, keepdim=True)
        step = torch.where(active & (curvature > 0), product / curvature, 0.0)
        solution = solution + step * direction
        residual = residual - step * image
        scaled = residual * inverse
        following = (residual * scaled).sum(2, keepdim=True)
        direction = scaled + torch.where(active, following / product, 0.0) * direction
        product = following
    return solution
