"""Checks that a stored tensor holds plain numbers: its layout, type, device and values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deepcompress.errors import UserError
from deepcompress.frontend.file_errors import QUANTIZE_HINT, where
from deepcompress.ir.graph import LARGEST_VALUE


def check_tensor(name: str, tensor: Any, path: Path) -> None:
    """Raises UserError unless a tensor of a file can be read as float32.

    Args:
        name: of the tensor, for errors.
        tensor: what the file stores under it; other objects than tensors are ignored.
        path: of the file.
    """
    import torch

    if not torch.is_tensor(tensor):
        return
    kind, do = _unusual(tensor)
    if kind:
        raise UserError(f"the weights {name} are {kind}", where(path), do)
    if not tensor.is_floating_point():
        return
    if not tensor.isfinite().all():
        raise UserError(
            f"the weights {name} hold NaN or infinity",
            where(path),
            "The training diverged: use an earlier checkpoint",
        )
    largest = float(tensor.detach().double().abs().max()) if tensor.numel() else 0.0
    if largest > LARGEST_VALUE:
        raise UserError(
            f"the weights {name} hold a value of magnitude {largest:.3g}; at most "
            f"{LARGEST_VALUE:.0e} is possible",
            where(path),
            "The training diverged: use an earlier checkpoint. For a mask, use -1e9",
        )


def _unusual(tensor: Any) -> tuple[str, str]:
    """How the elements of a tensor are not plain numbers, and what to do; or two empty texts."""
    import torch

    if tensor.is_meta:
        return "without values (device meta)", "Load the weights before the network is saved"
    if tensor.layout != torch.strided:
        return f"{tensor.layout}", "Save weight.to_dense(): zeros are found in dense weights"
    if tensor.is_quantized:
        return f"quantized ({tensor.dtype})", QUANTIZE_HINT
    if tensor.is_complex():
        return "complex numbers", "Store the real and the imaginary part as two weights"
    return "", ""
