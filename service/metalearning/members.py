"""What every member of an ensemble of published networks is: pooled features, centred, of unit length."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from math import sqrt
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from service.metalearning.episodes import Images

Features = Float[Tensor, "n n_features"]


class Member(nn.Module, ABC):
    """A network whose weights come from elsewhere, and that maps images to features.

    `centre` is the mean of the pooled features over images of no task's, zero until a checkpoint sets it. `gains` and
    `shifts` say by which share of itself each channel of each layer grows, and what is added to it (`modulation`),
    zeros until a checkpoint sets them: they are then put into the weights, so that they cost no time.

    Args:
        parts: lengths of the parts of the features; each part has the same share of their length.

    Attributes:
        packaged_state: state-dict names whose tensors come with the network's weights and are not saved.
    """

    packaged_state: frozenset[str]

    def __init__(self, parts: Sequence[int]) -> None:
        super().__init__()
        self.parts = list(parts)
        self.n_features = sum(self.parts)
        self.register_buffer("centre", torch.zeros(self.n_features))
        self.centre: Tensor
        self.gains: Tensor
        self.shifts: Tensor

    def freeze(self) -> None:
        """Make a member of what was built: no gradients, no batch's moments, channels that can be modulated."""
        self.packaged_state = frozenset(name for name in self.state_dict() if name != "centre")
        n_channels = sum(len(bias) for _, _, bias in self._channels())
        for name in ("gains", "shifts"):
            self.register_buffer(name, torch.zeros(n_channels, dtype=torch.float16))
        self.register_load_state_dict_pre_hook(_put_into_weights)  # type: ignore[no-untyped-call]  # torch says no type
        self.requires_grad_(requires_grad=False)
        self.to(memory_format=torch.channels_last)
        self.eval()

    def modulated(self, gains: Float[Tensor, " n"], shifts: Float[Tensor, " n"]) -> dict[str, Tensor]:
        """The weights with these gains and shifts, by state-dict name; differentiable in both.

        Args:
            gains: by which share of itself each channel grows beyond what the weights hold.
            shifts: what is added to each channel.
        """
        sizes = [len(bias) for _, _, bias in self._channels()]
        parts = zip(self._channels(), torch.split(gains, sizes), torch.split(shifts, sizes), strict=True)
        state: dict[str, Tensor] = {}
        for (name, weight, bias), gain, shift in parts:
            state[f"{name}.weight"] = weight * (1 + gain).reshape(-1, *[1] * (weight.ndim - 1))
            state[f"{name}.bias"] = bias + shift
        return state

    def _channels(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Name, weight and bias of each layer that has both."""
        for name, layer in self.named_modules():
            own = dict(layer.named_parameters(recurse=False))
            if {"weight", "bias"} <= own.keys():
                yield name, own["weight"], own["bias"]

    def train(self, mode: bool = True) -> "Member":  # noqa: ARG002  # torch's signature
        """Stay in evaluation mode."""
        super().train(mode=False)
        return self

    def forward(self, images: Images) -> Features:
        """Centred features of unit length."""
        return self.standardised(self.pooled(images))

    @abstractmethod
    def pooled(self, images: Images) -> Features:
        """Features as the network gives them, neither centred nor of one length."""

    def standardised(self, pooled: Features) -> Features:
        """What `pooled` gave, centred and of unit length, each part with the same share of it."""
        parts: tuple[Tensor, ...] = torch.split(pooled - self.centre, self.parts, dim=-1)
        return torch.cat([F.normalize(part, dim=-1) for part in parts], dim=-1) / sqrt(len(parts))


def _put_into_weights(member: Member, state: Mapping[str, Tensor], prefix: str, *_: Any) -> None:  # noqa: ANN401
    """Modulate the layers as the state says that is about to be loaded; a state that holds weights has done so."""
    gains, shifts = state.get(f"{prefix}gains"), state.get(f"{prefix}shifts")
    if gains is None or shifts is None or any(f"{prefix}{name}" in state for name in member.packaged_state):
        return
    with torch.no_grad():
        more = (1 + gains.float()) / (1 + member.gains.float()) - 1
        for name, tensor in member.modulated(more, shifts.float() - member.shifts.float()).items():
            member.get_parameter(name).copy_(tensor)
