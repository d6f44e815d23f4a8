"""Tasks drawn from classes of features, adapted, and answered: what a calibration is fitted on and measured with."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from service.metalearning.calibration import shape_values
from service.metalearning.episodes import Labels
from service.metalearning.learners.base import head_logits
from service.metalearning.learners.head_learner import HeadLearner
from service.metalearning.trust.answers import class_means, nearest_distances, separation
from service.metalearning.trust.holding_out import HeldOut, held_out

WAYS = (2, 3, 5, 5, 8, 10, 15, 20)
SHOTS = (1, 2, 3, 4, 5, 5, 7, 10, 15, 20)
N_UNSEEN = 5
N_QUERY = 15
MOST_IMAGES = 200

Kinds = Sequence[Float[Tensor, "_ n_features"]]
"""Features of the images of each class."""


@dataclass(frozen=True, slots=True, eq=False)
class Domain:
    """Where tasks are drawn from.

    Attributes:
        name: what it is called where figures are told.
        support: the images that support sets are drawn from.
        queries: those that queries are drawn from, class by class; None: what the support set left.
        are_alike: whether the classes of a task are one by lot and those nearest to it, not all by lot.
    """

    name: str
    support: Kinds
    queries: Kinds | None = None
    are_alike: bool = False

    def order(self, able: Sequence[int], generator: torch.Generator) -> list[int]:
        """The classes as a task takes them, by their numbers."""
        by_lot = [able[index] for index in torch.randperm(len(able), generator=generator).tolist()]
        if not self.are_alike:
            return by_lot
        means = torch.stack([self.support[kind].mean(0) for kind in by_lot])
        means = means - means.mean(0)
        likeness = torch.cosine_similarity(means, means[:1])
        return [by_lot[place] for place in likeness.argsort(descending=True).tolist()]


@dataclass(frozen=True, slots=True, eq=False)
class Distances:
    """Squared, to the nearest class mean: of queries of the task's classes, and of images of other classes."""

    known: Float[Tensor, " n"]
    unseen: Float[Tensor, " n_unseen"]


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """A drawn task and what was seen on it.

    Attributes:
        domain: the number of the domain.
        counts: images of each class.
        logits: of queries of the task's classes, not calibrated.
        labels: of these queries.
        unseen_logits: of images of other classes.
        distances: to the means as they are, and to those of unit length.
        evidence: answers to held-out examples, not calibrated.
        support_labels: of the examples.
        separation: of the classes.
    """

    domain: int
    counts: tuple[int, ...]
    logits: Float[Tensor, "n n_way"]
    labels: Labels
    unseen_logits: Float[Tensor, "n_unseen n_way"]
    distances: tuple[Distances, Distances]
    evidence: HeldOut
    support_labels: Int[Tensor, " n_support"]
    separation: float

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

    support: Float[Tensor, "n n_features"]
    labels: Labels
    query: Float[Tensor, "n_query n_features"]
    query_labels: Int[Tensor, " n_query"]
    unseen: Float[Tensor, "n_unseen n_features"]


def compact(domain: Domain) -> Domain:
    """The domain with the same lengths and angles of its features in no more numbers than it has images.

    Heads see lengths and angles alone, and a fit makes thousands of them.
    """
    kinds = [*domain.support, *(domain.queries or ())]
    rows = torch.cat(kinds).double()
    if len(rows) >= rows.shape[1]:
        return domain
    axes = torch.linalg.qr(rows.T).Q
    short = [(kind.double() @ axes).to(kind.dtype) for kind in kinds]
    n = len(domain.support)
    return replace(domain, support=short[:n], queries=short[n:] if domain.queries else None)


def draw_counts(domain: Domain, generator: torch.Generator) -> tuple[int, ...]:
    """Images of each class of a task: one of WAYS and SHOTS that the domain can fill, one in four unbalanced."""
    n_images = min(len(kind) for kind in domain.support)
    ways = [way for way in WAYS if way <= len(domain.support) - 2]
    n_way = ways[_below(len(ways), generator)]
    most = min(n_images // 2 if domain.queries is None else n_images, MOST_IMAGES // n_way)
    shots = [shot for shot in SHOTS if shot <= most]
    if _below(4, generator):
        return (shots[_below(len(shots), generator)],) * n_way
    return tuple(shots[_below(len(shots), generator)] for _ in range(n_way))


def draw(domain: Domain, counts: Sequence[int], generator: torch.Generator, *, n_query: int = N_QUERY) -> Drawn:
    """A task with so many images of each class, and up to so many queries of each and of classes that it has not."""
    able = [index for index, kind in enumerate(domain.support) if len(kind) >= max(counts) + (domain.queries is None)]
    support: list[Tensor] = []
    query: list[Tensor] = []
    unseen: list[Tensor] = []
    for place, kind in enumerate(domain.order(able, generator)[: len(counts) + N_UNSEEN]):
        count = counts[place] if place < len(counts) else 0
        mixed = domain.support[kind][torch.randperm(len(domain.support[kind]), generator=generator)]
        rest = mixed[count:] if domain.queries is None else domain.queries[kind]
        asked = rest[torch.randperm(len(rest), generator=generator)[:n_query]]
        if place < len(counts):
            support.append(mixed[:count])
        (query if place < len(counts) else unseen).append(asked)
    return Drawn(torch.cat(support), _numbered(support), torch.cat(query), _numbered(query), torch.cat(unseen))


def answered(learner: HeadLearner, drawn: Drawn, *, domain: int = 0) -> Task:
    """The task adapted, its queries and its held-out examples answered."""
    with torch.no_grad():
        head = learner.head(drawn.support, drawn.labels)
        evidence = held_out(learner, drawn.support, drawn.labels)
    return Task(
        domain=domain,
        counts=tuple(torch.bincount(drawn.labels).tolist()),
        logits=head_logits(head, drawn.query).detach(),
        labels=drawn.query_labels,
        unseen_logits=head_logits(head, drawn.unseen).detach(),
        distances=(_distances(drawn, unit=False), _distances(drawn, unit=True)),
        evidence=evidence,
        support_labels=drawn.labels,
        separation=separation(drawn.support, drawn.labels),
    )


def _distances(drawn: Drawn, *, unit: bool) -> Distances:
    means = class_means(drawn.support, drawn.labels, unit=unit)
    return Distances(nearest_distances(means, drawn.query), nearest_distances(means, drawn.unseen))


def _numbered(parts: Sequence[Tensor]) -> Labels:
    return torch.cat([torch.full((len(part),), index) for index, part in enumerate(parts)])


def _below(n: int, generator: torch.Generator) -> int:
    return int(torch.randint(n, (1,), generator=generator))
