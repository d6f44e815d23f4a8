"""Meta-training: from a recipe and a data set to a base model, in steps that can be interrupted anywhere."""

from collections.abc import Callable
from pathlib import Path
from typing import cast, final

import torch
from torch import Tensor

from service.metalearning.episodes import Episode, SupportSet
from service.metalearning.evaluation import Answering, measure
from service.metalearning.header import Setting
from service.metalearning.learners import LEARNERS
from service.metalearning.learners.base import Learner
from service.metalearning.provenance import trained_header
from service.metalearning.recipe import Recipe
from service.metalearning.sampling import check_drawable, draw_episode
from service.metalearning.serialization import BaseModel, save_base_model
from service.metalearning.training_data import TrainingData
from service.metalearning.training_run import LOG_EVERY_STEPS, Outcome, Progress, Run, initial_network, learning_rate

__all__ = ["LOG_EVERY_STEPS", "MetaTraining", "Outcome", "Progress", "learning_rate", "meta_train"]


def meta_train(
    recipe: Recipe,
    data: TrainingData,
    folder: Path,
    *,
    start: BaseModel | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Train until the recipe's last step, or until `is_stopped` says so between two steps.

    Args:
        recipe: how to train.
        data: what to train on; the same each time the run is taken up.
        folder: the run's folder; holds a state where there was an earlier session.
        start: a base model whose backbone the training begins with; None begins at random.
        on_progress: called every LOG_EVERY_STEPS steps and after the last.
        is_stopped: asked after every step.

    Raises:
        CheckpointError: the folder's state belongs to another recipe or start, or the start has another backbone.
        DatasetError: the data set cannot fill the recipe's episodes.
    """
    return MetaTraining(recipe, data, folder, start=start).go(on_progress, is_stopped)


@final
class MetaTraining(Run):
    """Steps on episodes: the learner adapts to the support sets and is corrected by the queries."""

    def __init__(self, recipe: Recipe, data: TrainingData, folder: Path, *, start: BaseModel | None = None) -> None:
        check_drawable(data.train, recipe.episodes.shape)
        super().__init__(recipe, _initial_learner(recipe), data.train, folder, optimizer=recipe.optimizer, start=start)
        self.learner = cast("Learner", self.module)
        self.adapting = cast("Learner", self.answering)
        self.validation = data.validation

    def backward(self) -> Tensor:
        """Draw the next episodes and differentiate their mean query loss."""
        return self.learner.backward([self.draw() for _ in range(self.recipe.episodes.tasks_per_step)])

    def draw(self) -> Episode:
        """The next episode."""
        settings, generator = self.recipe.episodes, self.state.generator
        rows = draw_episode(self.train, settings.shape, generator, within_group=settings.within_group)
        images = self.distorted(torch.cat([rows.support, rows.query]))
        n_support = len(rows.support)
        support = SupportSet(images[:n_support], rows.support_labels)
        return Episode(support, SupportSet(images[n_support:], rows.query_labels))

    def is_measured(self) -> bool:
        """After every so many steps, where there are classes to measure on."""
        settings = self.recipe.validation
        return settings is not None and self.validation is not None and self.state.step % settings.every_steps == 0

    def measured(self) -> tuple[float, float]:
        """Accuracy of the default learner on the same episodes each time."""
        settings, dataset = self.recipe.validation, self.validation
        assert settings is not None
        assert dataset is not None
        name, options = next(iter(self._offers().items()))
        offered = LEARNERS[name](self.adapting.network, **options)
        if name == self.recipe.learner.name:
            offered.take_learned(self.adapting.learned())
        answering = Answering(offered, self.recipe.scaling)
        found = measure(answering, dataset, settings.shape, episodes=settings.episodes, seed=self.recipe.seed)
        return found.accuracy, found.interval_95

    def finish(self) -> Path:
        """Write the base model of the weights that the recipe chooses."""
        validation = self.recipe.validation
        if validation is not None and validation.choose == "best" and self.state.chosen:
            self.answering.load_state_dict(self.answering.state_dict() | self.state.chosen)
        else:
            self.settle()
        offers, name = self._offers(), self.recipe.learner.name
        header = trained_header(self.recipe, self.train, self.state, offers, start=self.start)
        path = self.folder / f"{self.recipe.id}.safetensors"
        learned = {name: self.adapting.learned()} if name in offers else {}
        save_base_model(path, self.adapting.network, header, learned=learned)
        return path

    def _offers(self) -> dict[str, dict[str, Setting]]:
        """The learners offered: settings that training has learned, unless the recipe says another."""
        learned = {self.recipe.learner.name: self.adapting.settings()}
        return {name: learned.get(name, {}) | dict(given) for name, given in self.recipe.offers.items()}


def _initial_learner(recipe: Recipe) -> Learner:
    """The recipe's learner on a freshly drawn network; the global generator is put back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return LEARNERS[recipe.learner.name](initial_network(recipe), **recipe.learner.settings)
