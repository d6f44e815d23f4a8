"""Support sets, episodes, and drawing episodes from a data set of classes."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

Images = Float[Tensor, "n channels height width"]
Labels = Int[Tensor, " n"]


@dataclass(frozen=True, slots=True, eq=False)
class SupportSet:
    """Labelled images that define one task; labels are 0..n_way-1, each present."""

    images: Images
    labels: Labels

    @property
    def n_way(self) -> int:
        """Number of classes."""
        return int(self.labels.max()) + 1


@dataclass(frozen=True, slots=True, eq=False)
class Episode:
    """One task with the query images it is scored on."""

    support: SupportSet
    query: SupportSet


def stacked(episodes: "list[Episode]") -> Episode:
    """Episodes of one shape as one, each tensor with a leading axis of tasks, for `torch.vmap`."""
    return Episode(
        SupportSet(
            torch.stack([episode.support.images for episode in episodes]),
            torch.stack([episode.support.labels for episode in episodes]),
        ),
        SupportSet(
            torch.stack([episode.query.images for episode in episodes]),
            torch.stack([episode.query.labels for episode in episodes]),
        ),
    )
