"""Supervised pre-training: the backbone learns to name the training classes, as any deep network does.

The base model that comes out offers the recipe's learners on the pre-trained backbone, and `meta_train` can start
from it. Its test accuracy is that of held-out images of the training classes.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import cast, final

import torch
import torch.nn.functional as F
from torch import Tensor

from service.errors import DatasetError, RecipeError
from service.metalearning.datasets import Dataset, with_rotations
from service.metalearning.learners.base import Network
from service.metalearning.normalisation import BatchStatistics, move_buffers
from service.metalearning.preprocessing import scaled
from service.metalearning.provenance import pretrained_header
from service.metalearning.recipe import PretrainingSettings, Recipe
from service.metalearning.serialization import save_base_model
from service.metalearning.training_data import TrainingData
from service.metalearning.training_run import Outcome, Progress, Run, initial_network
from service.wording import counted

_TEST_BATCH = 500


def pretrain(
    recipe: Recipe,
    data: TrainingData,
    folder: Path,
    *,
    on_progress: Callable[[Progress], None] = lambda _: None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Train until the last step of `recipe.pretraining`, or until `is_stopped` says so between two steps.

    Args:
        recipe: how to train.
        data: what to train on; the same each time the run is taken up.
        folder: the run's folder, another than that of meta-training.
        on_progress: called every LOG_EVERY_STEPS steps and after the last; its `validation` is the test accuracy.
        is_stopped: asked after every step.

    Raises:
        RecipeError: the recipe has no table `pretraining`.
        CheckpointError: the folder's state belongs to another recipe.
        DatasetError: some class has too few images to hold some out.
    """
    return Pretraining(recipe, data, folder).go(on_progress, is_stopped)


def split_images(dataset: Dataset, n_test: int) -> tuple[Dataset, Dataset]:
    """The data set without the last images of each class, and with them alone.

    Raises:
        DatasetError: a class has no image beside them.
    """
    for name, rows in zip(dataset.class_names, dataset.rows, strict=True):
        if len(rows) <= n_test:
            raise DatasetError(
                f"class {name!r} has {counted(len(rows), 'image')}, need more than the {n_test} held out"
            )
    kept = tuple(rows[: len(rows) - n_test] for rows in dataset.rows)
    test = tuple(rows[len(rows) - n_test :] for rows in dataset.rows)
    return (
        Dataset(dataset.name, dataset.images, dataset.class_names, kept),
        Dataset(dataset.name, dataset.images, dataset.class_names, test),
    )


@final
class Pretraining(Run):
    """Steps on batches of labelled images, by the cross-entropy of all training classes."""

    def __init__(self, recipe: Recipe, data: TrainingData, folder: Path) -> None:
        if recipe.pretraining is None:
            raise RecipeError(f"recipe {recipe.id!r} has no table 'pretraining'")
        self.how: PretrainingSettings = recipe.pretraining
        train, self.test = split_images(data.train, self.how.test_images)
        if self.how.rotations:
            train = with_rotations(train)
        self.rows, self.labels = torch.cat(train.rows), _labels(train)
        module = _initial_classifier(recipe, train.n_classes)
        super().__init__(recipe, module, train, folder, optimizer=self.how.optimizer)
        self.network = module

    def backward(self) -> Tensor:
        """Differentiate the mean cross-entropy of the next batch."""
        chosen = self._batch()
        statistics = BatchStatistics() if self.network.statistics == "running" else None
        logits = self.network(self.distorted(self.rows[chosen]), statistics)
        if statistics is not None:
            move_buffers(statistics)
        loss = F.cross_entropy(logits, self.labels[chosen], label_smoothing=self.how.label_smoothing)
        torch.autograd.backward(loss)
        return loss.detach()

    def is_measured(self) -> bool:
        """After every so many steps, and at the end."""
        return self.state.step % self.how.test_every_steps == 0 or self.state.step == self.settings.steps

    def measured(self) -> tuple[float, float]:
        """Test accuracy: of the held-out images, as they are, among all training classes."""
        rows, labels, network = torch.cat(self.test.rows), _labels(self.test), cast("Network", self.answering)
        with torch.no_grad():
            logits = [
                network(scaled(self.test.images[part], self.recipe.scaling)) for part in torch.split(rows, _TEST_BATCH)
            ]
        accuracy = (torch.cat(logits).argmax(1) == labels).double().mean().item()
        return 100 * accuracy, 196 * math.sqrt(accuracy * (1 - accuracy) / len(labels))

    def finish(self) -> Path:
        """Write the base model of the averaged weights."""
        self.settle()
        header = pretrained_header(self.recipe, self.train, self.state)
        path = self.folder / f"{header.id}.safetensors"
        save_base_model(path, cast("Network", self.answering), header)
        return path

    def _batch(self) -> Tensor:
        """Which of `rows` come next: each epoch has its own order, decided by the seed, and drops what is left over."""
        size = min(self.how.batch_images, len(self.rows))
        epoch, position = divmod(self.state.step, len(self.rows) // size)
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + epoch)
        return torch.randperm(len(self.rows), generator=generator)[position * size : (position + 1) * size]


def _labels(dataset: Dataset) -> Tensor:
    counts = torch.tensor([len(rows) for rows in dataset.rows])
    return torch.arange(dataset.n_classes).repeat_interleave(counts)


def _initial_classifier(recipe: Recipe, n_classes: int) -> Network:
    """A network with a head for the training classes; the global generator is put back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return initial_network(recipe, n_classes)
