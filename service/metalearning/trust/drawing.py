"""Tasks drawn from classes of features, adapted, and answered: what a calibration is fitted on and measured with."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from service.metalearning.calibration import MEANS, shape_values
from service.metalearning.episodes import Labels
from service.metalearning.learners.base import TaskParameters, head_logits
from service.metalearning.learners.closed_form import HeadLearner
from service.metalearning.trust.answers import nearest_distances
from service.metalearning.trust.holding_out import HeldOut, held_out

WAYS = (2, 3, 5, 5, 8, 10, 15, 20)
SHOTS = (1, 2, 3, 4, 5, 5, 7, 10, 15, 20)
N_UNSEEN = 5
N_QUERY = 15
MOST_IMAGES = 200

Kinds = Sequence[Float[Tensor, "n n_views n_features"]]
"""Features of the images of each class."""


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """A drawn task and what was seen on it.

    Attributes:
        dataset: number of the data set.
        counts: images of each class.
        logits: of queries of the task's classes, not calibrated.
        labels: of these queries.
        distance, unseen_distance: squared, to the nearest class mean, of these queries and of images of other classes.
        unseen_logits: of images of other classes.
        evidence: answers to held-out examples, not calibrated.
        support_labels: of the examples.
    """

    dataset: int
    counts: tuple[int, ...]
    logits: Float[Tensor, "n n_way"]
    labels: Labels
    distance: Float[Tensor, " n"]
    unseen_logits: Float[Tensor, "n_unseen n_way"]
    unseen_distance: Float[Tensor, " n_unseen"]
    evidence: HeldOut
    support_labels: Int[Tensor, " n_support"]

    @property
    def shape(self) -> tuple[float, float, float]:
        """(1, ln n_way, ln n_shot)."""
        return shape_values(self.counts)

    @property
    def accuracy(self) -> float:
        """Share of right answers to the queries."""
        return float((self.logits.argmax(-1) == self.labels).double().mean())


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A task that is not answered yet: features of its support, of queries of its classes, of images of others."""

    support: Float[Tensor, "n n_views n_features"]
    labels: Labels
    query: Float[Tensor, "n_query n_features"]
    query_labels: Int[Tensor, " n_query"]
    unseen: Float[Tensor, "n_unseen n_features"]


def draw_counts(kinds: Kinds, generator: torch.Generator) -> tuple[int, ...]:
    """Images of each class of a task: one of WAYS and SHOTS that the data set can fill, one in four unbalanced."""
    n_images = sorted(len(kind) for kind in kinds)
    ways = [way for way in WAYS if way <= len(kinds) - 2]
    n_way = ways[_below(len(ways), generator)]
    most = min(n_images[0] // 2, MOST_IMAGES // n_way)
    shots = [shot for shot in SHOTS if shot <= most]
    if _below(4, generator):
        return (shots[_below(len(shots), generator)],) * n_way
    return tuple(shots[_below(len(shots), generator)] for _ in range(n_way))


def draw(
    kinds: Kinds,
    counts: Sequence[int],
    generator: torch.Generator,
    *,
    queries: Kinds | None = None,
    n_query: int = N_QUERY,
) -> Drawn:
    """A task with so many images of each class; queries come from the same images, or from `queries`."""
    able = [index for index, kind in enumerate(kinds) if len(kind) >= max(counts) + (queries is None)]
    order = [able[index] for index in torch.randperm(len(able), generator=generator).tolist()]
    support: list[Tensor] = []
    query: list[Tensor] = []
    unseen: list[Tensor] = []
    for place, kind in enumerate(order[: len(counts) + N_UNSEEN]):
        count = counts[place] if place < len(counts) else 0
        mixed = kinds[kind][torch.randperm(len(kinds[kind]), generator=generator)]
        rest = mixed[count:] if queries is None else queries[kind]
        asked = rest[torch.randperm(len(rest), generator=generator)[:n_query], 0]
        if place < len(counts):
            support.append(mixed[:count])
        (query if place < len(counts) else unseen).append(asked)
    return Drawn(torch.cat(support), _numbered(support), torch.cat(query), _numbered(query), torch.cat(unseen))


def answered(learner: HeadLearner, drawn: Drawn, *, dataset: int = 0) -> Task:
    """The task adapted, its queries and its held-out examples answered."""
    n_views = drawn.support.shape[1]
    with torch.no_grad():
        head = learner.head(drawn.support.flatten(0, 1), drawn.labels.repeat_interleave(n_views))
        evidence = held_out(learner, drawn.support, drawn.labels)
    kinds = range(int(drawn.labels.max()) + 1)
    means = torch.stack([drawn.support[drawn.labels == index].flatten(0, 1).mean(0) for index in kinds])
    described: TaskParameters = {**{k: v.detach() for k, v in head.items()}, MEANS: means}
    return Task(
        dataset=dataset,
        counts=tuple(torch.bincount(drawn.labels).tolist()),
        logits=head_logits(described, drawn.query),
        labels=drawn.query_labels,
        distance=nearest_distances(described, drawn.query),
        unseen_logits=head_logits(described, drawn.unseen),
        unseen_distance=nearest_distances(described, drawn.unseen),
        evidence=evidence,
        support_labels=drawn.labels,
    )


def _numbered(parts: Sequence[Tensor]) -> Labels:
    return torch.cat([torch.full((len(part),), index) for index, part in enumerate(parts)])


def _below(n: int, generator: torch.Generator) -> int:
    return int(torch.randint(n, (1,), generator=generator))
