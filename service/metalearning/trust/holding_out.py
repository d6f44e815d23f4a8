"""Each support example answered by a head that was made without it.

An example is held out together with its group (a burst, a slide, a part) and with copies of itself, which would
otherwise answer for it. Up to MOST_FOLDS heads are made; with at most so many images a class each fold holds out at
most one of each class, so that the classes keep their proportions. A class that would be left empty is not held out.

Why not the closed form of leave-one-out (Cawley and Talbot 2008 for ridge): the classes weigh the same here, so that
an image that leaves changes the weights of the others and the correction of the bias, and no closed form holds for
the other heads. A handful of small systems is cheap beside the features of the images.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from service.metalearning.episodes import Labels
from service.metalearning.learners.base import Pause, head_logits, no_pause
from service.metalearning.learners.head_learner import HeadLearner

MOST_FOLDS = 10
NEAR_COPY = 0.02
"""Copies are nearer to each other than this share of the median squared distance in the support set. Seen on
photographs: saving a JPEG again at quality 75 moves an image by less than 0.001 of it, two thirds of the size by 0.005
to 0.02; of two Omniglot drawings of one character 99.9 % are further apart than 0.05."""

Rows = Float[Tensor, "n n_features"]
Pairs = Bool[Tensor, "n n"]


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Answers to held-out examples.

    Attributes:
        logits: zero where there is no answer.
        answered: whether the example was held out.
    """

    logits: Float[Tensor, "n n_way"]
    answered: Bool[Tensor, " n"]


def held_out(
    learner: HeadLearner,
    rows: Rows,
    labels: Labels,
    *,
    groups: Sequence[int | None] = (),
    copies: Pairs | None = None,
    pause: Pause = no_pause,
) -> HeldOut:
    """Logits of every example that can be held out.

    Args:
        learner: makes the heads.
        rows: features of each example.
        labels: 0..n_way-1, each present.
        groups: what must stay together, a number a group; None stands for itself. Empty: no groups.
        copies: `near_copies` of the rows, if it is at hand.
        pause: called between heads.
    """
    units = _units(groups or [None] * len(labels), near_copies(rows) if copies is None else copies)
    n_way = int(labels.max()) + 1
    logits = rows.new_zeros(len(labels), n_way)
    answered = torch.zeros(len(labels), dtype=torch.bool)
    for fold in _folds(units, labels.cpu()):
        pause()
        kept = (~fold).to(rows.device)
        with torch.no_grad():
            head = learner.head(rows[kept], labels[kept])
            logits[~kept] = head_logits(head, rows[~kept]).to(logits.dtype)
        answered |= fold
    return HeldOut(logits, answered)


def near_copies(rows: Rows) -> Pairs:
    """Which examples are the same image, or all but the same; the diagonal is false."""
    distances = torch.cdist(rows, rows).square()
    others = ~torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    median = distances[others].median() if len(rows) > 1 else distances.new_zeros(())
    return (distances <= NEAR_COPY * median) & others


def _units(groups: Sequence[int | None], copies: Pairs) -> list[int]:
    """A number for each example; those that must stay together have the same."""
    unit = list(range(len(groups)))
    first: dict[int, int] = {}
    pairs = [(i, first.setdefault(group, i)) for i, group in enumerate(groups) if group is not None]
    for i, j in [*pairs, *copies.triu().nonzero().tolist()]:
        old, new = unit[i], unit[j]
        if old != new:
            unit = [new if each == old else each for each in unit]
    return unit


def _folds(units: Sequence[int], labels: Labels) -> Iterator[Bool[Tensor, " n"]]:
    """Which examples each fold holds out; units go to the fold that has fewest of their classes."""
    n_way = int(labels.max()) + 1
    numbers = torch.tensor(units)
    members = [numbers == unit for unit in dict.fromkeys(units)]
    counts = [torch.bincount(labels[of_unit], minlength=n_way) for of_unit in members]
    most = int(torch.stack(counts).gt(0).sum(0).max())  # units of the class that has most
    taken = torch.zeros(min(MOST_FOLDS, max(most, 2)), n_way)
    folds = torch.zeros(len(taken), len(labels), dtype=torch.bool)
    for of_unit, of_classes in zip(members, counts, strict=True):
        chosen = int((taken @ of_classes.float() + 1e-3 * taken.sum(1)).argmin())
        taken[chosen] += of_classes
        folds[chosen] |= of_unit
    for fold in folds:
        left = torch.bincount(labels[~fold], minlength=n_way)
        held = fold & (left[labels] > 0)
        if held.any():
            yield held
