"""Networks of torch.ao.quantization in eager mode: prepared ones open, converted ones do not.

`prepare_qat` inserts fake quantization, whose scales are in the state_dict: they are kept.
`prepare` inserts observers, which change nothing. `convert` packs int8 weights into objects that
only torch's own kernels read.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepcompress.errors import UserError, setting
from deepcompress.frontend.file_errors import where

if TYPE_CHECKING:
    import torch

CONVERTED = "it was converted by torch.ao.quantization, whose packed int8 weights cannot be read"
BEFORE_CONVERT = (
    "Save it before convert(): the state_dict of the network that prepare_qat() returned, with an "
    f"{setting('architecture')} that returns the same prepared network, keeps its scales; a float "
    "network is quantized here. Or quantize by torchao's prepare_pt2e and convert_pt2e"
)
_PACKED = "_packed_params"


def check_not_converted(weights: Mapping[str, Any], path: Path) -> None:
    """Raises UserError if a state_dict is one of a converted network."""
    import torch

    packed = any(_PACKED in name.split(".") for name in weights)
    if packed or any(torch.is_tensor(v) and v.is_quantized for v in weights.values()):
        raise UserError(CONVERTED, where(path), BEFORE_CONVERT)


def check_module_not_converted(module: torch.nn.Module, path: Path) -> None:
    """Raises UserError if a module has layers of a converted network.

    A converted layer that was unpickled lacks attributes that methods of torch.nn.Module need.
    """
    waiting, seen = [module], set()
    while waiting:
        layer = waiting.pop()
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        if is_converted_class(type(layer).__module__):
            raise UserError(CONVERTED, where(path), BEFORE_CONVERT)
        waiting += (vars(layer).get("_modules") or {}).values()


def is_converted_class(name: str) -> bool:
    """Whether a class is one of the layers of a converted network, by its full name or module.

    Or whether a function makes the tensors of such a network.
    """
    parts = ("ao.nn.quantized", "ao.nn.intrinsic.quantized", "_rebuild_qtensor")
    return any(part in name for part in parts)


def is_prepared(weights: Mapping[str, Any]) -> bool:
    """Whether a state_dict is one of a prepared network, by the names of its observers."""
    parts = {part for name in weights for part in name.split(".")}
    return bool(parts & {"activation_post_process", "weight_fake_quant"})


def with_fixed_scales(module: torch.nn.Module) -> torch.nn.Module:
    """The module with fake quantization at its present scales, and without observers.

    torch.export follows neither an observer, which changes buffers, nor fake quantization that
    computes its scale. The module is changed in place.
    """
    # The user's file has imported these modules if it has prepared the network.
    fake, observing = (
        sys.modules.get(f"torch.ao.quantization.{name}") for name in ("fake_quantize", "observer")
    )
    if fake is None or observing is None:
        return module
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, fake.FakeQuantizeBase):
                setattr(parent, name, _fixed(child))
            elif isinstance(child, observing.ObserverBase):
                setattr(parent, name, _identity())
    return module


def _identity() -> torch.nn.Module:
    import torch

    return torch.nn.Identity()


def _fixed(fake: Any) -> torch.nn.Module:
    """A module that fake-quantizes by the scales of a FakeQuantize module."""
    import torch

    if not bool(fake.fake_quant_enabled.any()):
        return _identity()
    scale, zero_point = fake.scale.detach().float(), fake.zero_point.detach().int()
    limits = (fake.quant_min, fake.quant_max)

    class Fixed(torch.nn.Module):
        scale: torch.Tensor
        zero_point: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("scale", scale)
            self.register_buffer("zero_point", zero_point)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if fake.is_per_channel:
                return torch.fake_quantize_per_channel_affine(
                    x, self.scale, self.zero_point, fake.ch_axis, *limits
                )
            return torch.fake_quantize_per_tensor_affine(x, float(scale), int(zero_point), *limits)

    return Fixed()
