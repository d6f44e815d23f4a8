"""Accuracy of the base model `photo` on Grocery photographs, also where classes differ in size.

    python -m tests.benchmarks.grocery --data ../shared/data [--features FILE] [--write-figures]

Support images come from the files named `train_`, queries from those named `test_`. None was used to make or fit
anything, but these figures were looked at between choices, as `photo` tells. The first table is the usual one: episodes
of 5 classes, 15 queries a class (or as many as there are), every query answered by itself.

The second compares an unbalanced task with its balanced subset: one kind with few images against many of its
look-alikes (the kinds whose mean features are nearest, pooled), and against as few of those, drawn at random.
Balanced accuracy is the mean of the two recalls.
"""

import argparse
import math
import zipfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

import safetensors.torch
import torch
from torch import Tensor
from torch.nn import functional as F

from service.imaging import decode
from service.metalearning.evaluation import write_figures
from service.metalearning.header import Figure
from service.metalearning.learners.base import TaskParameters
from service.metalearning.learners.head_learner import HeadLearner
from service.metalearning.preprocessing import scaled
from service.metalearning.serialization import BaseModel, load_base_model

PHOTO = Path("service/base_models/photo.safetensors")
N_QUERY = 15
UNBALANCED = ((3, 20, 1), (3, 100, 4), (8, 500, 25))
"""Images of the small class, of the large one, and how many kinds that one pools."""


class MakesHeads(Protocol):
    """What adapts: features and labels to a head."""

    def head(self, features: Tensor, labels: Tensor) -> TaskParameters:
        """The head's weight and bias."""


@dataclass(frozen=True, slots=True, eq=False)
class Kinds:
    """Features of every kind's support images and queries."""

    support: tuple[Tensor, ...]
    query: tuple[Tensor, ...]

    def neighbours(self, kind: int) -> list[int]:
        """The other kinds, those that look most alike first."""
        means = torch.stack([features.mean(0) for features in self.support])
        likeness = F.cosine_similarity(means - means.mean(0), means[kind] - means.mean(0))
        return [index for index in likeness.argsort(descending=True).tolist() if index != kind]


@dataclass(frozen=True, slots=True)
class Unbalanced:
    """Recalls in percent: of the small and the large class, in the unbalanced task and in its balanced subset."""

    small: float
    large: float
    subset_small: float
    subset_large: float

    @property
    def accuracy(self) -> float:
        """Balanced accuracy of the unbalanced task."""
        return (self.small + self.large) / 2

    @property
    def subset_accuracy(self) -> float:
        """Balanced accuracy of the balanced subset."""
        return (self.subset_small + self.subset_large) / 2


def read_kinds(
    base: BaseModel, data: Path, *, only: Collection[str] | None = None, most: tuple[int, int] | None = None
) -> Kinds:
    """Features of the photographs, by kind and use; kinds in the order of their names.

    Args:
        base: the base model.
        data: the folder of grocery_store_84.zip.
        only: names of the kinds; all by default.
        most: how many photographs of a kind are read, for its support and as queries; all by default.
    """
    found: dict[str, tuple[list[Tensor], list[Tensor]]] = {}
    with zipfile.ZipFile(data / "grocery_store_84.zip") as archive, torch.inference_mode():
        for path in sorted(archive.namelist()):
            kind, use = str(PurePosixPath(path).parent), PurePosixPath(path).name.partition("_")[0]
            if use not in {"train", "test"} or not path.endswith(".jpg") or (only is not None and kind not in only):
                continue
            is_query = use == "test"
            rows = found.setdefault(kind, ([], []))[is_query]
            if most is None or len(rows) < most[is_query]:
                rows.append(_read_features(base, archive.read(path)))
    return Kinds(*(tuple(torch.cat(rows) for rows in of_use) for of_use in zip(*found.values(), strict=True)))


def episode_accuracies(learner: MakesHeads, kinds: Kinds, n_shot: int, *, episodes: int, seed: int = 0) -> Tensor:
    """Accuracy of each 5-way episode, in percent."""
    generator = torch.Generator().manual_seed(seed)
    able = [index for index, of_kind in enumerate(kinds.support) if len(of_kind) >= n_shot]
    accuracies = []
    for _ in range(episodes):
        chosen = [able[index] for index in torch.randperm(len(able), generator=generator)[:5].tolist()]
        support = [_drawn(kinds.support[index], n_shot, generator) for index in chosen]
        query = [_drawn(kinds.query[index], N_QUERY, generator) for index in chosen]
        accuracies.append(_recalls(learner, support, query, weighted=True).mean())
    return torch.stack(accuracies)


def unbalanced_tasks(
    learner: MakesHeads, kinds: Kinds, *, few: int, many: int, n_kinds: int, draws: int = 2
) -> Iterator[Unbalanced]:
    """One task for every kind and draw: `few` images of it against `many` of the `n_kinds` most like it."""
    generator = torch.Generator().manual_seed(0)
    for small in range(len(kinds.support)):
        pooled = kinds.neighbours(small)[:n_kinds]
        large = torch.cat([kinds.support[index] for index in pooled])
        query = [kinds.query[small], torch.cat([kinds.query[index] for index in pooled])]
        if len(large) < many or len(kinds.support[small]) < few:
            continue
        for _ in range(draws):
            support = [_drawn(kinds.support[small], few, generator), _drawn(large, many, generator)]
            subset = [support[0], _drawn(support[1], few, generator)]
            recalls = [_recalls(learner, of_task, query) for of_task in (support, subset)]
            yield Unbalanced(*torch.cat(recalls).tolist())


def interval_95(values: Tensor) -> float:
    """Half width of the 95 % interval of the mean."""
    return float(1.96 * values.std() / math.sqrt(len(values)))


def _drawn(rows: Tensor, n: int, generator: torch.Generator) -> Tensor:
    return rows[torch.randperm(len(rows), generator=generator)[:n]]


def _recalls(learner: MakesHeads, support: list[Tensor], query: list[Tensor], *, weighted: bool = False) -> Tensor:
    """Share of right answers in each class in percent, or of each query if `weighted`."""
    labels = torch.arange(len(support)).repeat_interleave(torch.tensor([len(rows) for rows in support]))
    with torch.no_grad():
        head = learner.head(torch.cat(support), labels)
    right = [
        (F.linear(rows, head["head.weight"], head["head.bias"]).argmax(1) == index).float()
        for index, rows in enumerate(query)
    ]
    return 100 * (torch.cat(right) if weighted else torch.stack([of_class.mean() for of_class in right]))


def _read_features(base: BaseModel, data: bytes) -> Tensor:
    pixels = decode(data, [base.header.input], max_pixels=10**8).arrays[0]
    features: Tensor = base.network.backbone(scaled(torch.from_numpy(pixels)[None], base.header.scaling))
    return features


def _features(base: BaseModel, data: Path, cache: Path | None) -> Kinds:
    """The features, kept in a file if one is named."""
    if cache is not None and cache.exists():
        tensors = safetensors.torch.load_file(cache)
        n_kinds = len(tensors) // 2
        return Kinds(*(tuple(tensors[f"{use}.{i}"] for i in range(n_kinds)) for use in ("support", "query")))
    kinds = read_kinds(base, data)
    if cache is not None:
        parts = (("support", kinds.support), ("query", kinds.query))
        safetensors.torch.save_file({f"{use}.{i}": rows for use, part in parts for i, rows in enumerate(part)}, cache)
    return kinds


def _print_episodes(base: BaseModel, kinds: Kinds, episodes: int) -> list[Figure]:
    figures = []
    print(f"{'learner':10} 5-way n_shot  accuracy %")
    for name in base.header.learners:
        for n_shot in (1, 5):
            learner = base.learner(name)
            assert isinstance(learner, HeadLearner)
            accuracies = episode_accuracies(learner, kinds, n_shot, episodes=episodes)
            mean, interval = float(accuracies.mean()), interval_95(accuracies)
            print(f"{name:10} {n_shot:12}  {mean:.2f} +- {interval:.2f}")
            figures.append(Figure("grocery", name, 5, n_shot, round(mean, 2), round(interval, 2), episodes))
    return figures


def _print_unbalanced(base: BaseModel, kinds: Kinds) -> None:
    print("\nlearner    few : many of kinds  tasks  accuracy (recalls)  of the subset  difference")
    for name in base.header.learners:
        learner = base.learner(name)
        assert isinstance(learner, HeadLearner)
        for few, many, n_kinds in UNBALANCED:
            tasks = list(unbalanced_tasks(learner, kinds, few=few, many=many, n_kinds=n_kinds))
            print(f"{name:10} {few:3} : {many:4} of {n_kinds:5}  {len(tasks):5}  {_summary(tasks)}")


def _summary(tasks: list[Unbalanced]) -> str:
    small = torch.tensor([task.small for task in tasks]).mean()
    large = torch.tensor([task.large for task in tasks]).mean()
    subset = torch.tensor([task.subset_accuracy for task in tasks])
    gain = torch.tensor([task.accuracy for task in tasks]) - subset
    accuracy = (small + large) / 2
    recalls = f"({small:.0f}, {large:.0f})"
    return f"{accuracy:8.1f} {recalls:9} {subset.mean():14.1f} {gain.mean():+10.1f} +- {interval_95(gain):.1f}"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of grocery_store_84.zip")
    parser.add_argument("--checkpoint", type=Path, default=PHOTO)
    parser.add_argument("--features", type=Path, help="a file that keeps the features between runs")
    parser.add_argument("--episodes", type=int, default=300)
    parser.add_argument("--write-figures", action="store_true", help="put the first table into the checkpoint")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    base = load_base_model(arguments.checkpoint)
    kinds = _features(base, arguments.data, arguments.features)
    figures = _print_episodes(base, kinds, arguments.episodes)
    _print_unbalanced(base, kinds)
    if arguments.write_figures:
        write_figures(arguments.checkpoint, figures)


if __name__ == "__main__":
    main()
