"""Distillation without labels: a network learns, while it is pruned, to answer as the original.

The loss is the squared error of each output, in relation to its variance (Hinton et al., arXiv
1503.02531, with the original network as the only teacher). The samples are those of calibration:
shifted by a few positions, and mixed with each other (Zhang et al., arXiv 1710.09412), which the
teacher answers as well. Weights are pruned in small steps, those first whose loss changes the
outputs least by the diagonal of the Gauss-Newton matrix (Optimal Brain Damage), in all layers
together. A weight that was pruned may come back until the last step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import ceil, cos, pi
from time import perf_counter
from typing import TYPE_CHECKING

from deepcompress.data.calibration import Calibration
from deepcompress.execute.float_torch import forward, to_torch
from deepcompress.ir.arrays import frozen
from deepcompress.ir.batch_layout import split
from deepcompress.ir.graph import Graph
from deepcompress.passes.layer_inputs import held_out
from deepcompress.passes.magnitude_prune import weighted_nodes
from deepcompress.passes.reconstruct import highest

if TYPE_CHECKING:
    import torch

    LayerParameters = dict[str, dict[str, torch.Tensor]]

_BATCH = 64
# Of the root mean square of a tensor, per step at the highest learning rate.
_LEARNING_RATE = 0.03
# Share of the steps in which the learning rate rises.
_RISE = 0.1
# Shares of the steps before pruning begins and when it ends.
_PRUNING_BEGINS, _PRUNING_ENDS = 0.05, 0.6
_STEPS_PER_MASK = 20  # or a twentieth of all steps, if that is less
# Of the moving average of the diagonal, per mask.
_AVERAGE = 0.7
# Batches on which weights are judged before any training.
_MEASUREMENTS = 12
_MIXED = 0.7  # share of a batch
_SHIFT = 0.06  # largest, as a share of an axis
_SHIFTED_AXIS = 16  # positions that an axis has at least


@dataclass(frozen=True)
class Target:
    """How many weights are left at the end.

    Attributes:
        total: in all layers together, or None.
        by_layer: in each layer, by name; layers that are not named keep theirs.
    """

    total: int | None
    by_layer: Mapping[str, int]


def distill(
    teacher: Graph,
    calibration: Calibration,
    target: Target,
    *,
    steps: int,
    seed: int = 0,
    progress: Callable[[str], None] = lambda line: None,
) -> Graph:
    """The teacher pruned to the target, trained on the calibration inputs.

    Args:
        calibration: with real inputs.
        steps: of training, each with a batch of 64.
    """
    import torch

    training = _Training(teacher, calibration, target, steps, seed)
    for step in range(steps):
        loss = training.step(step)
        if (step + 1) % max(1, steps // 10) == 0:
            sparsity = 100 * training.sparsity
            progress(
                f"distilling: step {step + 1:,} of {steps:,}, {sparsity:.0f}% of the weights "
                f"pruned, error {100 * loss:.1f}%"
            )
    with torch.no_grad():
        final = training.masked()
    nodes = (
        replace(
            node,
            parameters={k: frozen(v.detach().numpy().copy()) for k, v in final[node.name].items()},
        )
        for node in teacher.nodes
    )
    return replace(teacher, nodes=tuple(nodes))


def allocate(graph: Graph, calibration: Calibration, total: int) -> dict[str, int]:
    """How many weights each layer keeps if `total` are kept in all of them, by layer name.

    Those are kept whose loss would change the outputs most, by the Gauss-Newton diagonal.
    """
    training = _Training(graph, calibration, Target(total, {}), steps=1, seed=0)
    for _ in range(_MEASUREMENTS):
        training.measure()
    training.set_masks(1.0)
    owners = training.owners
    return {name: int(training.masks[owner].sum()) for name, owner in owners.items()}


def seconds_per_step(graph: Graph, calibration: Calibration) -> float:
    """Measured on this machine."""
    training = _Training(graph, calibration, Target(None, {}), steps=4, seed=0)
    training.step(0)  # the first one allocates memory
    began = perf_counter()
    for step in (1, 2, 3):
        training.step(step)
    return (perf_counter() - began) / 3


class _Training:
    """The weights, their masks, and what decides about the masks."""

    def __init__(
        self, teacher: Graph, calibration: Calibration, target: Target, steps: int, seed: int
    ) -> None:
        import torch

        self.teacher, self.target, self.steps = teacher, target, steps
        self.interval = min(_STEPS_PER_MASK, max(1, steps // 20))
        self.generator = torch.Generator().manual_seed(seed)
        self.chunks = calibration.chunks
        learned = held_out(len(calibration.inputs), calibration.chunks)[0]
        self.inputs = torch.from_numpy(calibration.inputs[learned])
        self.fixed = to_torch(teacher)
        self.parameters = _tied_parameters(teacher)
        # The first layer of those that share a weight stands for all of them.
        self.weights: dict[str, torch.Tensor] = {}
        self.owners: dict[str, str] = {}
        for node in weighted_nodes(teacher):
            weight = self.parameters[node.name]["weight"]
            same = (name for name, other in self.weights.items() if other is weight)
            owner = self.owners[node.name] = next(same, node.name)
            self.weights[owner] = weight
        self.exists = {name: (w != 0).float() for name, w in self.weights.items()}
        self.masks = dict(self.exists)
        self.scores = {name: torch.zeros_like(w) for name, w in self.weights.items()}
        unique = {id(v): v for values in self.parameters.values() for v in values.values()}
        trained = [values.requires_grad_(True) for values in unique.values()]
        rates = [_LEARNING_RATE * _size(values) for values in trained]
        self.optimizer = torch.optim.Adam(
            [{"params": [v], "lr": rate} for v, rate in zip(trained, rates, strict=True)],
            betas=(0.9, 0.99),
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: _share_of_rate(step / steps)
        )

    @property
    def sparsity(self) -> float:
        left = sum(float(mask.sum()) for mask in self.masks.values())
        return 1 - left / sum(mask.numel() for mask in self.masks.values())

    def masked(self) -> LayerParameters:
        """All parameters by layer, with the weights that are pruned set to zero."""
        pruned = {name: weight * self.masks[name] for name, weight in self.weights.items()}
        return {
            layer: {
                key: pruned[self.owners[layer]] if key == "weight" else value
                for key, value in values.items()
            }
            for layer, values in self.parameters.items()
        }

    def step(self, step: int) -> float:
        """One step of training; returns the loss."""
        import torch

        if step % self.interval == 0:
            self._prune(step)
        inputs = self._batch()
        with torch.no_grad():
            wanted = forward(self.teacher, inputs, parameters=self.fixed)
        outputs = forward(self.teacher, inputs, parameters=self.masked())
        loss = self._loss(outputs, wanted)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.schedule.step()
        return float(loss.detach())

    def _loss(self, outputs: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        names = self.teacher.outputs
        pairs = zip(
            split(self.teacher, names, outputs).values(),
            split(self.teacher, names, wanted).values(),
            strict=True,
        )
        errors = [(a - b).square().mean() / (b.var() + 1e-12) for a, b in pairs]
        return sum(errors[1:], errors[0]) / len(errors)

    def _batch(self) -> torch.Tensor:
        import torch

        streams = self.inputs.reshape(-1, self.chunks, *self.inputs.shape[1:])
        count = max(1, _BATCH // self.chunks)
        index = torch.randint(0, len(streams), (count,), generator=self.generator)
        return self._augmented(streams[index]).flatten(0, 1)

    def _augmented(self, streams: torch.Tensor) -> torch.Tensor:
        import torch

        for axis in range(3, streams.ndim):
            size = streams.shape[axis]
            if size >= _SHIFTED_AXIS:
                reach = ceil(_SHIFT * size)
                by = int(torch.randint(-reach, reach + 1, (1,), generator=self.generator))
                streams = torch.roll(streams, by, axis)
        shape = (len(streams), *[1] * (streams.ndim - 1))
        share = torch.rand(shape, generator=self.generator)
        mixed = torch.rand(shape, generator=self.generator) < _MIXED
        share = torch.where(mixed, share, 1.0)
        other = streams[torch.randperm(len(streams), generator=self.generator)]
        return share * streams + (1 - share) * other

    def _prune(self, step: int) -> None:
        """New masks, for the share of pruning that is due at a step."""
        due = (step / self.steps - _PRUNING_BEGINS) / (_PRUNING_ENDS - _PRUNING_BEGINS)
        last = self.interval / self.steps / (_PRUNING_ENDS - _PRUNING_BEGINS)
        if due <= 0 or due >= 1 + last:
            return
        self.measure()
        self.set_masks(1 - (1 - min(due, 1.0)) ** 3)  # fast at first: arXiv 1710.01878

    def set_masks(self, done: float) -> None:
        """Masks of the weights that are kept when a share of all pruning is done."""
        import torch

        if self.target.total is None:
            by_owner = {self.owners[name]: n for name, n in self.target.by_layer.items()}
            for name, count in by_owner.items():
                self.masks[name] = highest(
                    self._saliency(name), _left(self.exists[name], count, done)
                )
            return
        names = list(self.weights)
        exists = torch.cat([self.exists[name].flatten() for name in names])
        together = torch.cat([self._saliency(name).flatten() for name in names])
        kept = highest(together, _left(exists, self.target.total, done))
        sizes = [self.weights[name].numel() for name in names]
        for name, mask in zip(names, torch.split(kept, sizes), strict=True):
            self.masks[name] = mask.reshape(self.weights[name].shape)

    def _saliency(self, name: str) -> torch.Tensor:
        scores = self.weights[name].detach().square() * self.scores[name]
        return scores.where(self.exists[name] > 0, -1.0)

    def measure(self) -> None:
        """Updates the diagonal of the Gauss-Newton matrix: squared gradients of random sums."""
        import torch

        masked = self.masked()
        used = {name: masked[name]["weight"] for name in self.weights}
        outputs = forward(self.teacher, self._batch(), parameters=masked)
        signs = torch.randint(0, 2, outputs.shape, generator=self.generator) * 2.0 - 1
        gradients = torch.autograd.grad(
            (outputs * signs).sum(), list(used.values()), materialize_grads=True, allow_unused=True
        )
        for name, gradient in zip(used, gradients, strict=True):
            self.scores[name] = _AVERAGE * self.scores[name] + (1 - _AVERAGE) * gradient.square()


def _share_of_rate(done: float) -> float:
    """The learning rate as a share of the highest: a linear rise, then half a cosine to zero."""
    if done < _RISE:
        return 0.05 + 0.95 * done / _RISE
    return 0.5 + 0.5 * cos(pi * (done - _RISE) / (1 - _RISE))


def _left(exists: torch.Tensor, count: int, done: float) -> int:
    first = int(exists.sum())
    return round(first + (min(count, first) - first) * done)


def _size(values: torch.Tensor) -> float:
    return float(values.detach().square().mean().sqrt()) + 1e-4


def _tied_parameters(graph: Graph) -> LayerParameters:
    """Parameters to train; layers with the same weights share one tensor."""
    shared: dict[tuple[str, bytes], torch.Tensor] = {}
    parameters: LayerParameters = {}
    for node, values in to_torch(graph).items():
        parameters[node] = dict(values)
        if "weight" in values:
            key = (str(tuple(values["weight"].shape)), values["weight"].numpy().tobytes())
            parameters[node]["weight"] = shared.setdefault(key, values["weight"])
    return parameters
