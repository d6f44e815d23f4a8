"""What the projection of `photo` gives in each domain, also in domains that it was not learned on.

    python -m tests.benchmarks.projection --data ../shared/data [--features DIR] [--episodes 400]

A row is what the projection was learned on: training classes of no domain, of all but one, of all. A column is a
domain, of validation classes: 5-way 1-shot / 5-shot accuracy of the default learner in percent, each query answered
by itself. In the row "all but" a domain, its own column is that of a domain that was never seen.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from service.cli.class_images import domain_images
from service.cli.learning import decoder
from service.metalearning import photo
from service.metalearning.datasets import Split
from service.metalearning.ensemble import Ensemble
from service.metalearning.learners import LEARNERS
from service.metalearning.learners.base import Network, head_logits
from service.metalearning.learners.head_learner import HeadLearner
from service.metalearning.projection import (
    Domain,
    domains_from_file,
    domains_to_file,
    learn_projection,
    seen_by_members,
)
from service.metalearning.whitening import covariance_within, whitening

N_WAY = 5
N_QUERY = 10

Features = Float[Tensor, "n n_features"]


def domains_of(data: Path, split: Split, cache: Path | None) -> Mapping[str, Domain]:
    """What the members say of the images of a split, by domain."""
    kept = None if cache is None else cache / f"{split}.safetensors"
    if kept is not None and kept.exists():
        return domains_from_file(kept)
    backbone, _ = photo.photo_backbone()
    images = domain_images(data, split, decoder(photo.INPUT))
    found = {dataset.name: seen_by_members(backbone, dataset, photo.SCALING) for dataset in images}
    if kept is not None:
        domains_to_file(kept, found)
    return found


def accuracy(learner: HeadLearner, kinds: list[Features], n_shot: int, *, episodes: int) -> float:
    """Mean accuracy of 5-way episodes, in percent."""
    generator = torch.Generator().manual_seed(n_shot)
    labels = torch.arange(N_WAY).repeat_interleave(n_shot)
    right = n_queries = 0
    for _ in range(episodes):
        chosen = [kinds[index] for index in torch.randperm(len(kinds), generator=generator)[:N_WAY].tolist()]
        drawn = [rows[torch.randperm(len(rows), generator=generator)[: n_shot + N_QUERY]] for rows in chosen]
        head = learner.head(torch.cat([rows[:n_shot] for rows in drawn]), labels)
        for label, rows in enumerate(drawn):
            logits = head_logits(head, rows[n_shot:])
            right += int((logits.argmax(-1) == label).sum())
            n_queries += len(logits)
    return 100 * right / n_queries


def print_row(name: str, backbone: Ensemble, validation: Mapping[str, Domain], *, episodes: int) -> None:
    """The accuracies of the backbone as it is in every domain."""
    first = next(iter(photo.OFFERS))
    learner = LEARNERS[first](Network(backbone, backbone.n_features), **photo.OFFERS[first].settings)
    assert isinstance(learner, HeadLearner)
    cells = []
    for domain in validation.values():
        features = backbone.projected(backbone.joined(domain.pooled))
        kinds = [features[domain.labels == label] for label in range(int(domain.labels.max()) + 1)]
        one, five = (accuracy(learner, kinds, n_shot, episodes=episodes) for n_shot in (1, 5))
        cells.append(f"{one:.1f} / {five:.1f}")
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def print_table(training: Mapping[str, Domain], validation: Mapping[str, Domain], *, episodes: int) -> None:
    """All rows, in Markdown."""
    backbone, _ = photo.photo_backbone()
    learn_projection(backbone, training, floor=photo.FLOOR)
    print(f"| learned on | {' | '.join(validation)} |\n|---|{'---|' * len(validation)}", flush=True)
    print_row("all", backbone, validation, episodes=episodes)
    covariances = {
        name: covariance_within(backbone.joined(domain.pooled), domain.labels) for name, domain in training.items()
    }
    for left_out in training:
        others = [covariance for name, covariance in covariances.items() if name != left_out]
        directions, shortening = whitening(others, floor=photo.FLOOR, rank=photo.RANK)
        backbone.directions.copy_(directions)
        backbone.shortening.copy_(shortening)
        print_row(f"all but {left_out}", backbone, validation, episodes=episodes)
    backbone.shortening.zero_()
    print_row("nothing", backbone, validation, episodes=episodes)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--features", type=Path, help="a folder that keeps what the networks gave between runs")
    parser.add_argument("--episodes", type=int, default=400)
    arguments = parser.parse_args()
    with torch.inference_mode():
        training, validation = (domains_of(arguments.data, split, arguments.features) for split in ("train", "val"))
        print_table(training, validation, episodes=arguments.episodes)


if __name__ == "__main__":
    main()
