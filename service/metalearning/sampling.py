"""Episodes drawn from a data set: which images, decided by a generator and nothing else."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from service.errors import DatasetError
from service.metalearning.datasets import Dataset
from service.wording import counted


@dataclass(frozen=True, slots=True)
class EpisodeShape:
    """Sizes of an episode: classes, support images a class, query images a class."""

    n_way: int
    n_shot: int
    n_query: int


@dataclass(frozen=True, slots=True, eq=False)
class EpisodeRows:
    """The images of one episode by their rows in the data set; class 0 first, then class 1 and so on.

    The order within a class is random, and which class is called 0 is too.
    """

    support: Int[Tensor, " n_support"]
    query: Int[Tensor, " n_query_images"]
    support_labels: Int[Tensor, " n_support"]
    query_labels: Int[Tensor, " n_query_images"]


def draw_episodes(dataset: Dataset, shape: EpisodeShape, generator: torch.Generator) -> Iterator[EpisodeRows]:
    """Episodes without end: classes and images drawn without replacement within each.

    Raises:
        DatasetError: at the first episode, where the data set has too few classes or a class too few images.
    """
    check_drawable(dataset, shape)
    while True:
        yield draw_episode(dataset, shape, generator)


def draw_episode(
    dataset: Dataset, shape: EpisodeShape, generator: torch.Generator, *, within_group: float = 0.0
) -> EpisodeRows:
    """One episode of a data set that `check_drawable` accepts.

    Args:
        dataset: where the classes come from.
        shape: how many.
        generator: decides.
        within_group: share of the episodes whose classes are of one group, filled up with others where it has
            too few.
    """
    classes = _drawn_classes(dataset, shape.n_way, generator, within_group)
    return _rows_of(dataset, classes, shape, generator)


def trial_episodes(dataset: Dataset, shape: EpisodeShape, generator: torch.Generator) -> list[EpisodeRows]:
    """The fixed episodes of a data set that has `trials`, in their order."""
    return [_rows_of(dataset, trial, shape, generator) for trial in dataset.trials]


def _drawn_classes(dataset: Dataset, n_way: int, generator: torch.Generator, within_group: float) -> list[int]:
    order = torch.randperm(dataset.n_classes, generator=generator)
    if within_group and float(torch.rand((), generator=generator)) < within_group:
        groups = torch.tensor(dataset.groups)[order]
        # The first class of a random order chooses the group, so that each class is as likely as another.
        order = order[torch.argsort((groups != groups[0]).int(), stable=True)]
        order = order[:n_way][torch.randperm(n_way, generator=generator)]
    chosen: list[int] = order[:n_way].tolist()
    return chosen


def _rows_of(dataset: Dataset, classes: Sequence[int], shape: EpisodeShape, generator: torch.Generator) -> EpisodeRows:
    support, query = [], []
    for index in classes:
        if dataset.query_rows is None:
            drawn = _drawn(dataset.rows[index], shape.n_shot + shape.n_query, generator)
            support.append(drawn[: shape.n_shot])
            query.append(drawn[shape.n_shot :])
        else:
            support.append(_drawn(dataset.rows[index], shape.n_shot, generator))
            query.append(_drawn(dataset.query_rows[index], shape.n_query, generator))
    labels = torch.arange(len(classes))
    return EpisodeRows(
        support=torch.cat(support),
        query=torch.cat(query),
        support_labels=labels.repeat_interleave(shape.n_shot),
        query_labels=labels.repeat_interleave(shape.n_query),
    )


def check_drawable(dataset: Dataset, shape: EpisodeShape) -> None:
    """Refuse a shape that some choice of classes could not fill.

    Raises:
        DatasetError: names the class and its count.
    """
    if dataset.n_classes < shape.n_way:
        found = counted(dataset.n_classes, "class")
        raise DatasetError(f"data set {dataset.name!r} has {found}, need at least {shape.n_way}")
    if dataset.query_rows is None:
        _check_rows(dataset.class_names, dataset.rows, shape.n_shot + shape.n_query, "support and query")
    else:
        _check_rows(dataset.class_names, dataset.rows, shape.n_shot, "support")
        _check_rows(dataset.class_names, dataset.query_rows, shape.n_query, "query")


def _check_rows(names: tuple[str, ...], rows: tuple[Tensor, ...], needed: int, use: str) -> None:
    for name, of_class in zip(names, rows, strict=True):
        if len(of_class) < needed:
            raise DatasetError(
                f"class {name!r} has {counted(len(of_class), 'image')}, need at least {needed} for {use}"
            )


def _drawn(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return rows[torch.randperm(len(rows), generator=generator)[:count]]
