"""Which images to label next: the suggestions of the service against a random choice, at the same number of labels.

    python -m tests.benchmarks.suggest --data ../shared/data [--tasks 40]

A pool of 12 images of each of 10 classes is drawn from classes that the base model has never been trained on: of the
validation split of Omniglot (characters of one draw, with their rotations), and of the validation classes of
Tiny-ImageNet. Another 8 images of each class are the test set. Images are labelled a few at a time, chosen at random
or as the service would choose them; after each round a prototype head is fitted to all labels so far and asked for
the test set. A class without a label cannot be right. The table tells the mean accuracy in percent with its 95 %
interval over the tasks, which are the same for every way to choose, and the ratio to the random choice.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from service.imaging import decode
from service.metalearning.datasets import Dataset, read_omniglot, read_tiny_imagenet, with_rotations
from service.metalearning.preprocessing import scaled
from service.metalearning.serialization import BaseModel, load_base_model
from service.usecases.suggesting import Choice, Directions, typical, uncertain

N_WAY, N_POOL, N_TEST = 10, 12, 8
CLASS_IMAGES = 40
"""Of a class, the first so many; a task draws its 20 of them."""

ROUNDS = (10, 20, 30, 40, 60, 80)
"""Labels after each round: 1, 2, 3, 4, 6 and 8 a class, were they shared out evenly."""

MODELS = Path("service/base_models")
SCALE = 10.0
"""Of the cosines with the prototypes, for probabilities; changes no label."""

Ways = dict[str, Callable[["Pool"], list[int]]]


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """What a way to choose sees: the images without a label, those with one, and how many are to be labelled."""

    unlabelled: Directions
    labelled: Directions
    labels: NDArray[np.intp]
    n_wanted: int
    generator: np.random.Generator


def at_random(pool: Pool) -> list[int]:
    """Any of them."""
    return [int(index) for index in pool.generator.permutation(len(pool.unlabelled))[: pool.n_wanted]]


def by_typicality(pool: Pool) -> list[int]:
    """As the service chooses at few labels."""
    return _indices(typical(pool.unlabelled, pool.labelled, pool.n_wanted))


def by_uncertainty(pool: Pool) -> list[int]:
    """As the service chooses at many labels; at random in the first round, where nothing can be unsure."""
    if len(set(pool.labels.tolist())) < 2:
        return at_random(pool)
    probabilities = _probabilities(pool.unlabelled, pool.labelled, pool.labels)
    return _indices(uncertain(pool.unlabelled, probabilities, pool.n_wanted))


WAYS: Ways = {"random": at_random, "typical": by_typicality, "uncertain": by_uncertainty}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tasks", type=int, default=40)
    options = parser.parse_args()
    for name, model in (("omniglot", "omniglot-conv4"), ("tiny-imagenet", "photo")):
        base = load_base_model(MODELS / f"{model}.safetensors")
        features = _features_by_class(base, _dataset(name, base, options.data))
        _print_table(f"{name}, {model}", _measured(features, options.tasks))


def _dataset(name: str, base: BaseModel, data: Path) -> Dataset:
    def decoded(content: bytes) -> NDArray[np.uint8]:
        return decode(content, [base.header.input], max_pixels=10**6).arrays[0]

    if name == "omniglot":
        return with_rotations(read_omniglot(data, "val", decoded))
    return read_tiny_imagenet(data, "val", decoded)


@torch.inference_mode()
def _features_by_class(base: BaseModel, dataset: Dataset) -> list[Directions]:
    """Unit features of the first images of each class."""
    found = []
    network = base.network.eval()
    for rows in dataset.rows:
        images = scaled(dataset.images[rows[:CLASS_IMAGES]], base.header.scaling)
        features = network.backbone(images)
        found.append(torch.nn.functional.normalize(features, dim=1).numpy())
    return found


def _measured(features: Sequence[Directions], n_tasks: int) -> dict[str, NDArray[np.float64]]:
    """Accuracy by way: (n_tasks, rounds)."""
    return {way: np.array([_one_task(features, way, seed) for seed in range(n_tasks)]) for way in WAYS}


def _one_task(features: Sequence[Directions], way: str, seed: int) -> list[float]:
    generator = np.random.default_rng(seed)
    classes = [features[index] for index in generator.choice(len(features), N_WAY, replace=False)]
    drawn = [one[generator.permutation(len(one))] for one in classes]
    pool = np.concatenate([one[:N_POOL] for one in drawn])
    test = np.concatenate([one[N_POOL : N_POOL + N_TEST] for one in drawn])
    truth = np.repeat(np.arange(N_WAY), N_POOL)
    labelled: list[int] = []
    accuracies = []
    for n_labels in ROUNDS:
        free = np.setdiff1d(np.arange(len(pool)), labelled)
        seen = Pool(pool[free], pool[labelled], truth[labelled], n_labels - len(labelled), generator)
        labelled += [int(free[index]) for index in WAYS[way](seen)]
        answers = _probabilities(test, pool[labelled], truth[labelled]).argmax(1)
        known = np.unique(truth[labelled])
        accuracies.append(float((known[answers] == np.repeat(np.arange(N_WAY), N_TEST)).mean()) * 100)
    return accuracies


def _probabilities(images: Directions, labelled: Directions, labels: NDArray[np.intp]) -> NDArray[np.float32]:
    """Of the classes that have a label, in their order, by the distance to their means."""
    means = np.stack([labelled[labels == each].mean(0) for each in np.unique(labels)])
    scores = SCALE * (2 * images @ means.T - (means**2).sum(1))
    exponents = np.exp(scores - scores.max(1, keepdims=True))
    return np.asarray(exponents / exponents.sum(1, keepdims=True), np.float32)


def _indices(choices: Sequence[Choice]) -> list[int]:
    return [choice.index for choice in choices]


def _print_table(title: str, measured: dict[str, NDArray[np.float64]]) -> None:
    print(f"{title}: {N_WAY} classes, pool of {N_WAY * N_POOL}")
    print("labels     " + "".join(f"{n_labels:>16}" for n_labels in ROUNDS))
    base = measured["random"].mean(0)
    for way, figures in measured.items():
        half = 1.96 * figures.std(0, ddof=1) / np.sqrt(len(figures))
        cells = [f"{mean:7.2f} ± {h:4.2f}" for mean, h in zip(figures.mean(0), half, strict=True)]
        print(f"{way:11}" + "".join(f"{cell:>16}" for cell in cells))
        if way != "random":
            print(" " * 11 + "".join(f"{'x' + format(ratio, '.3f'):>16}" for ratio in figures.mean(0) / base))


if __name__ == "__main__":
    main()
