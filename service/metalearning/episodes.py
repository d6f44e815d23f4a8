"""Support sets, episodes, and episodes of one shape as a batch."""

from collections.abc import Sequence
from dataclasses import dataclass

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


def of_one_shape(episodes: Sequence[Episode]) -> list[list[Episode]]:
    """The episodes in groups that agree in way and in the shapes of both sets, so that each can be stacked."""
    groups: dict[tuple[object, ...], list[Episode]] = {}
    for episode in episodes:
        shape = (episode.support.n_way, episode.support.images.shape, episode.query.images.shape)
        groups.setdefault(shape, []).append(episode)
    return list(groups.values())
