"""What modulation and projection of `photo` give in each domain, the projection also where it was not learned.

    python -m tests.benchmarks.projection --data ../shared/data [--features DIR] [--episodes 400]

A row is what the projection was learned on: training classes of no domain, of all but one, of all; the first is of
the networks as published, the others are of those of `photo`, whose modulation was learned on all domains but for
photographs elsewhere, which it made by itself. A column is a domain, of validation classes: 5-way 1-shot / 5-shot
accuracy of the default learner in percent, each query answered by itself.
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
    PHOTOGRAPHS,
    Domain,
    domains_from_file,
    domains_to_file,
    learn_projection,
    seen_by_members,
)
from service.metalearning.serialization import load_base_model
from service.metalearning.whitening import covariance_within, whitening
from tests.benchmarks.grocery import PHOTO

N_WAY = 5
N_QUERY = 10

Features = Float[Tensor, "n n_features"]


def domains_of(backbone: Ensemble, data: Path, split: Split, kept: Path | None) -> Mapping[str, Domain]:
    """What the members say of the images of a split, by domain."""
    if kept is not None and kept.exists():
        return domains_from_file(kept)
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


def print_rows(
    backbone: Ensemble, training: Mapping[str, Domain], validation: Mapping[str, Domain], *, episodes: int
) -> None:
    """The rows of the learned networks, in Markdown."""
    learn_projection(backbone, training, floor=photo.FLOOR)
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
    published, _ = photo.photo_backbone()
    learned = load_base_model(PHOTO).network.backbone
    assert isinstance(learned, Ensemble)

    def seen(backbone: Ensemble, split: Split, name: str) -> Mapping[str, Domain]:
        kept = arguments.features / f"{name}.safetensors" if arguments.features else None
        return domains_of(backbone, arguments.data, split, kept)

    with torch.inference_mode():
        before = seen(published, "val", "published_val")
        print(f"| learned on | {' | '.join(before)} |\n|---|{'---|' * len(before)}", flush=True)
        for member, pooled in zip(published.networks, before[PHOTOGRAPHS].pooled, strict=True):
            member.centre.copy_(pooled.mean(dim=0))
        print_row("nothing at all", published, before, episodes=arguments.episodes)
        training, validation = seen(learned, "train", "train"), seen(learned, "val", "val")
        print_rows(learned, training, validation, episodes=arguments.episodes)


if __name__ == "__main__":
    main()
