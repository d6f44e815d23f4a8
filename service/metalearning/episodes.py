"""Support sets, episodes, and episodes of one shape as a batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

Images = Float[Tensor, "n channels height width"]
Labels = Int[Tensor, " n"]

IMAGES_IN_A_PASS = 200
"""Of all the tasks that are trained on at once. Seen on one core, FOMAML of Conv-4-64: 227 ms; with 60 it is 286."""


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


def passes(episodes: Sequence[Episode], *, n_images: int) -> Iterator[Sequence[Episode]]:
    """The episodes in parts that pass the network together, given the images that each brings along."""
    size = tasks_in_a_pass(n_images)
    return (episodes[first : first + size] for first in range(0, len(episodes), size))


def tasks_in_a_pass(n_images: int) -> int:
    """How many tasks of this many images pass the network together; one at least."""
    return max(1, IMAGES_IN_A_PASS // n_images)


def of_one_shape(episodes: Sequence[Episode]) -> list[list[Episode]]:
    """The episodes in groups that agree in way and in the shapes of both sets, so that each can be stacked."""
    groups: dict[tuple[object, ...], list[Episode]] = {}
    for episode in episodes:
        shape = (episode.support.n_way, episode.support.images.shape, episode.query.images.shape)
        groups.setdefault(shape, []).append(episode)
    return list(groups.values())
