"""What every member of an ensemble of frozen networks is: pooled features, centred, of unit length."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import sqrt

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from service.metalearning.episodes import Images

Features = Float[Tensor, "n n_features"]


class Member(nn.Module, ABC):
    """A frozen network that maps images to features.

    `centre` is the mean of the pooled features over images of no task's, zero until a checkpoint sets it.

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
