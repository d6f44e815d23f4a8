"""Meta-training: from a recipe and a data set to a base model, in steps that can be interrupted anywhere.

A run lives in one folder: `training.state` (what the next step depends on), `log.csv`, and at the end
`<recipe id>.safetensors`, the base model. Started again with the same recipe and data it goes on from its state
and ends with the same weights, bit for bit, as a run that nobody stopped, given the same machine and number of
threads.
"""

import copy
import csv
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from service.metalearning.augmentation import augmented, build_augmentation
from service.metalearning.backbones import build_backbone
from service.metalearning.datasets import Dataset
from service.metalearning.episodes import Episode, SupportSet
from service.metalearning.evaluation import Answering, measure
from service.metalearning.header import BackboneSpec, Setting
from service.metalearning.learners import LEARNERS
from service.metalearning.learners.base import Learner, Network
from service.metalearning.normalisation import BatchStatistics, move_buffers
from service.metalearning.preprocessing import scaled
from service.metalearning.provenance import trained_header
from service.metalearning.recipe import OptimizerSettings, Recipe, ValidationSettings, recipe_to_tables
from service.metalearning.sampling import check_drawable, draw_episode
from service.metalearning.serialization import save_base_model
from service.metalearning.training_data import TrainingData
from service.metalearning.training_state import STATE_FILE, TrainingState, read_state, write_state

LOG_EVERY_STEPS = 50
_SETTLING_IMAGES = 25_600
_SETTLING_BATCH = 512


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is; said every LOG_EVERY_STEPS steps and at the end.

    Attributes:
        loss: mean query loss of the steps since the last time.
        remaining_s: estimate of the training time that is left.
        validation: accuracy of the newest validation, in percent.
    """

    step: int
    steps: int
    loss: float
    lr: float
    remaining_s: float
    validation: float | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call of `meta_train` ended: with a base model at `path`, or stopped, with the state at `path`."""

    finished: bool
    path: Path


def meta_train(
    recipe: Recipe,
    data: TrainingData,
    folder: Path,
    *,
    on_progress: Callable[[Progress], None] = lambda _: None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Train until the recipe's last step, or until `is_stopped` says so between two steps.

    Args:
        recipe: how to train.
        data: what to train on; the same each time the run is taken up.
        folder: the run's folder; holds a state where there was an earlier session.
        on_progress: called every LOG_EVERY_STEPS steps and after the last.
        is_stopped: asked after every step.

    Raises:
        CheckpointError: the folder's state belongs to another recipe.
        DatasetError: the data set cannot fill the recipe's episodes.
    """
    run = _Run(recipe, data, folder)
    run.take_up()
    written_s = time.monotonic()
    while run.state.step < recipe.optimizer.steps:
        run.advance(on_progress)
        stopped = is_stopped()
        if stopped or time.monotonic() - written_s > recipe.checkpoint_s:
            run.write()
            written_s = time.monotonic()
        if stopped:
            return Outcome(False, run.state_path)
    run.write()
    return Outcome(True, run.finish())


def learning_rate(settings: OptimizerSettings, step: int) -> float:
    """The learning rate of a step, counted from 0: a linear rise, then the schedule."""
    lr = settings.lr * min(1.0, (step + 1) / max(1, settings.warmup_steps))
    if settings.schedule == "cosine":
        lr *= 0.5 * (1 + math.cos(math.pi * step / settings.steps))
    return lr


class _Run:
    """A run in its folder: the learner, the state of its training, and the data."""

    def __init__(self, recipe: Recipe, data: TrainingData, folder: Path) -> None:
        check_drawable(data.train, recipe.episodes.shape)
        self.recipe, self.data, self.folder = recipe, data, folder
        self.state_path = folder / STATE_FILE
        self.augmentation = build_augmentation(recipe.augmentation)
        self.learner = _initial_learner(recipe)
        self.answering = copy.deepcopy(self.learner)
        trained = [p for p in self.learner.parameters() if p.requires_grad]
        self.state = TrainingState(
            learner=self.learner,
            average={name: p.detach().clone() for name, p in self.learner.named_parameters()},
            optimizer=torch.optim.Adam(trained, weight_decay=recipe.optimizer.weight_decay),
            generator=torch.Generator().manual_seed(recipe.seed),
        )

    def take_up(self) -> None:
        """Go on from the folder's state, if it has one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.state_path.exists():
            read_state(self.state_path, self.state, recipe_to_tables(self.recipe))
        self.began_s = time.monotonic() - self.state.elapsed_s

    def write(self) -> None:
        """Put the state and the log on disk."""
        self.state.elapsed_s = time.monotonic() - self.began_s
        write_state(self.state_path, self.state, recipe_to_tables(self.recipe))
        _write_log(self.folder / "log.csv", self.state.log)

    def advance(self, on_progress: Callable[[Progress], None]) -> None:
        """One step of the optimiser, and what is due after it."""
        state, validation = self.state, self.recipe.validation
        lr = learning_rate(self.recipe.optimizer, state.step)
        state.loss_sum += self._step(lr)
        state.step += 1
        if validation is not None and self.data.validation is not None and state.step % validation.every_steps == 0:
            self._validate(validation, self.data.validation)
        if state.step % LOG_EVERY_STEPS == 0 or state.step == self.recipe.optimizer.steps:
            on_progress(self._note(lr))

    def finish(self) -> Path:
        """Write the base model of the weights that the recipe chooses."""
        validation = self.recipe.validation
        if validation is not None and validation.choose == "best" and self.state.chosen:
            self.answering.load_state_dict(self.answering.state_dict() | self.state.chosen)
        else:
            self._settle()
        offers, name = self._offers(), self.recipe.learner.name
        header = trained_header(self.recipe, self.data.train, self.state, offers)
        path = self.folder / f"{self.recipe.id}.safetensors"
        learned = {name: self.answering.learned()} if name in offers else {}
        save_base_model(path, self.answering.network, header, learned=learned)
        return path

    def _step(self, lr: float) -> float:
        """Train on the next episodes; the mean query loss."""
        episodes = [self._draw() for _ in range(self.recipe.episodes.tasks_per_step)]
        optimizer = self.state.optimizer
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad()
        loss = self.learner.backward(episodes)
        optimizer.step()
        # A young average follows faster, so that it forgets the random start.
        decay = min(self.recipe.optimizer.average_decay, (self.state.step + 1) / (self.state.step + 10))
        with torch.no_grad():
            for name, parameter in self.learner.named_parameters():
                self.state.average[name].lerp_(parameter, 1 - decay)
        return loss.item()

    def _draw(self) -> Episode:
        generator = self.state.generator
        rows = draw_episode(self.data.train, self.recipe.episodes.shape, generator)
        pixels = self.data.train.images[torch.cat([rows.support, rows.query])]
        images = scaled(augmented(pixels, self.augmentation, generator), self.recipe.scaling)
        n_support = len(rows.support)
        support = SupportSet(images[:n_support], rows.support_labels)
        return Episode(support, SupportSet(images[n_support:], rows.query_labels))

    def _settle(self) -> None:
        """Give `answering` the averaged weights, and normalisation statistics that belong to them.

        Statistics gathered along the way belong to other weights, so they are computed anew: the mean over
        batches of training images, undistorted as the images of a task are.
        """
        self.answering.load_state_dict({**self.learner.state_dict(), **self.state.average})
        if not getattr(self.answering, "moves_buffers", False):
            return
        if self.answering.network.statistics != "running":
            return
        rows = torch.cat(self.data.train.rows)
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(self.recipe.seed))
        n_seen = 0
        with torch.no_grad():
            for chosen in torch.split(rows[order][:_SETTLING_IMAGES], _SETTLING_BATCH):
                batch = BatchStatistics()
                self.answering.network.backbone(scaled(self.data.train.images[chosen], self.recipe.scaling), batch)
                n_seen += len(chosen)
                move_buffers(batch, len(chosen) / n_seen)

    def _offers(self) -> dict[str, dict[str, Setting]]:
        """The learners offered: settings that training has learned, unless the recipe says another."""
        learned = {self.recipe.learner.name: self.answering.settings()}
        return {name: learned.get(name, {}) | dict(given) for name, given in self.recipe.offers.items()}

    def _validate(self, settings: ValidationSettings, dataset: Dataset) -> None:
        """Measure the averaged weights on the same episodes each time; keep them if they are the best so far."""
        self._settle()
        name, options = next(iter(self._offers().items()))
        offered = LEARNERS[name](self.answering.network, **options)
        if name == self.recipe.learner.name:
            offered.take_learned(self.answering.learned())
        measurement = measure(
            Answering(offered, self.recipe.scaling),
            dataset,
            settings.shape,
            episodes=settings.episodes,
            seed=self.recipe.seed,
        )
        best = max((entry["accuracy"] for entry in self.state.validations), default=-math.inf)
        if measurement.accuracy > best:
            self.state.chosen = {key: tensor.clone() for key, tensor in self.answering.state_dict().items()}
        entry = {"step": self.state.step, "accuracy": measurement.accuracy, "interval_95": measurement.interval_95}
        self.state.validations.append(entry)

    def _note(self, lr: float) -> Progress:
        """Add a line to the log and say it; starts a new mean loss."""
        state, steps = self.state, self.recipe.optimizer.steps
        elapsed_s = time.monotonic() - self.began_s
        newest = state.validations[-1] if state.validations else None
        last_step = (state.step - 1) // LOG_EVERY_STEPS * LOG_EVERY_STEPS
        progress = Progress(
            step=state.step,
            steps=steps,
            loss=state.loss_sum / (state.step - last_step),
            lr=lr,
            remaining_s=elapsed_s / state.step * (steps - state.step),
            validation=newest["accuracy"] if newest else None,
        )
        state.loss_sum = 0.0
        fresh = newest is not None and newest["step"] > last_step
        measured = progress.validation if fresh else None
        state.log.append(
            {"step": state.step, "loss": progress.loss, "lr": lr, "elapsed_s": elapsed_s, "validation": measured}
        )
        return progress


def _initial_learner(recipe: Recipe) -> Learner:
    """The recipe's learner on a freshly drawn network; the global generator is put back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        backbone = build_backbone(BackboneSpec(recipe.backbone.name, recipe.backbone.settings))
        n_features = backbone.n_features
        assert isinstance(n_features, int)
        network = Network(backbone, n_features).to(memory_format=torch.channels_last)
        return LEARNERS[recipe.learner.name](network, **recipe.learner.settings)


def _write_log(path: Path, lines: Sequence[Mapping[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["step", "loss", "lr", "elapsed_s", "validation"])
        writer.writeheader()
        writer.writerows(lines)
