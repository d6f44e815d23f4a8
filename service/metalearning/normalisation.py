"""Normalisation whose statistics have a stated source: the base model, or a batch that the caller names.

Why our own: `torch.nn.BatchNorm2d` changes its source with train() and eval(), moves its buffers as a side effect
(also under `functional_call` and against `torch.vmap`), and refuses statistics that need a gradient. Published
MAML code normalises the query batch with its own statistics, so that a query sent alone is answered at chance
(Bronskill et al. 2020, arXiv:2003.03284, table 1). Here the source is an argument, so an answer cannot come to
depend on the images beside it by accident.
"""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

Source: TypeAlias = Literal["running", "support"]
"""Where the statistics of an answer come from: buffers of the base model, or the task's support set."""

EPSILON = 1e-5
MOMENTUM = 0.1

ChannelVector = Float[Tensor, " n_channels"]
Maps = Float[Tensor, "n n_channels height width"]


@dataclass(slots=True, eq=False)
class BatchStatistics:
    """A request to normalise by the batch, and the moments that doing so found.

    Attributes:
        weights: how much each image of the batch counts, adding up to one; None counts all alike.
        moments: mean and biased variance by layer, filled by the forward pass. With weights they are
            differentiable; without, they are for `move_buffers` only and are constants.
    """

    weights: Float[Tensor, " n"] | None = None
    moments: dict["Normalisation", tuple[Tensor, Tensor]] = field(default_factory=dict)


class Normalisation(nn.Module):
    """Scale and shift of each channel after normalising it (Ioffe & Szegedy 2015, arXiv:1502.03167).

    Without `batch` the statistics are the buffers `mean` and `variance`, which `functional_call` can replace by
    those of a task. With `batch` they are the batch's own and are left in `batch.moments`; the buffers stay as they
    are. The variance is the biased one everywhere. train() and eval() change nothing.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_channels))
        self.bias = nn.Parameter(torch.zeros(n_channels))
        self.register_buffer("mean", torch.zeros(n_channels))
        self.register_buffer("variance", torch.ones(n_channels))

    def forward(self, maps: Maps, batch: BatchStatistics | None = None) -> Maps:
        """The maps, normalised."""
        if batch is None:
            return self._by(self.mean, self.variance, maps)
        if batch.weights is None:
            return self._fused(maps, batch)
        mean, variance = batch.moments[self] = weighted_moments(maps, batch.weights)
        return self._by(mean, variance, maps)

    def affine(self, mean: ChannelVector, variance: ChannelVector) -> tuple[ChannelVector, ChannelVector]:
        """Scale and shift that normalise by these statistics: normalised = scale * maps + shift."""
        scale = self.weight * torch.rsqrt(variance + EPSILON)
        return scale, self.bias - mean * scale

    def _by(self, mean: ChannelVector, variance: ChannelVector, maps: Maps) -> Maps:
        scale, shift = self.affine(mean, variance)
        return maps * scale[:, None, None] + shift[:, None, None]

    def _fused(self, maps: Maps, batch: BatchStatistics) -> Maps:
        """Normalise by an unweighted batch, in torch's fused kernel: a training step takes half the time."""
        normalised, mean, inverse_deviation = torch.native_batch_norm(
            maps, self.weight, self.bias, None, None, training=True, momentum=0.0, eps=EPSILON
        )
        variance = (inverse_deviation.detach() ** -2 - EPSILON).clamp(min=0)
        batch.moments[self] = mean.detach(), variance
        return normalised


def weighted_moments(maps: Maps, weights: Float[Tensor, " n"]) -> tuple[ChannelVector, ChannelVector]:
    """Mean and biased variance of each channel, each image counted by its weight; the weights add up to one."""
    mean = weights @ maps.mean(dim=(2, 3))
    return mean, weights @ (maps - mean[:, None, None]).square().mean(dim=(2, 3))


def named_statistics(module: nn.Module, batch: BatchStatistics) -> dict[str, Tensor]:
    """The collected moments by the state-dict names of the buffers that they stand in for."""
    statistics: dict[str, Tensor] = {}
    for name, layer in module.named_modules():
        if isinstance(layer, Normalisation) and layer in batch.moments:
            statistics[f"{name}.mean"], statistics[f"{name}.variance"] = batch.moments[layer]
    return statistics


def move_buffers(batch: BatchStatistics, momentum: float = MOMENTUM) -> None:
    """Move the buffers of every layer that the batch passed towards the batch's moments; changes them in place."""
    with torch.no_grad():
        for layer, (mean, variance) in batch.moments.items():
            layer.mean.lerp_(mean.detach(), momentum)
            layer.variance.lerp_(variance.detach(), momentum)
