"""The steps that meta-training and pre-training share, and the folder in which a run can be interrupted anywhere.

A run lives in one folder: `training.state` (what the next step depends on), `log.csv` and `learning-curve.svg`, and
at the end the base model. Started again with the same recipe and data it goes on from its state and ends with the
same weights, bit for bit, as a run that nobody stopped, given the same machine and number of threads.
"""

import copy
import csv
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from service.errors import CheckpointError
from service.metalearning.augmentation import augmented, build_augmentation
from service.metalearning.backbones import build_backbone
from service.metalearning.datasets import Dataset
from service.metalearning.episodes import Images
from service.metalearning.header import BackboneSpec
from service.metalearning.learners.base import Learner, Network
from service.metalearning.learning_curve import curve_svg
from service.metalearning.normalisation import BatchStatistics, move_buffers
from service.metalearning.preprocessing import scaled
from service.metalearning.recipe import OptimizerSettings, Recipe, recipe_to_tables
from service.metalearning.serialization import BaseModel
from service.metalearning.training_state import STATE_FILE, TrainingState, read_state, write_state

LOG_EVERY_STEPS = 50
_SETTLING_IMAGES = 25_600
_SETTLING_BATCH = 512


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is; said every LOG_EVERY_STEPS steps and at the end.

    Attributes:
        loss: mean loss of the steps since the last time.
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
    """How a run ended: with a base model at `path`, or stopped, with the state at `path`."""

    finished: bool
    path: Path


def learning_rate(settings: OptimizerSettings, step: int) -> float:
    """The learning rate of a step, counted from 0: a linear rise, then the schedule."""
    lr = settings.lr * min(1.0, (step + 1) / max(1, settings.warmup_steps))
    if settings.schedule == "cosine":
        lr *= 0.5 * (1 + math.cos(math.pi * step / settings.steps))
    return lr


class Run(ABC):
    """A run in its folder: the module, the state of its training, and the data.

    Attributes:
        answering: the module with the averaged weights, as it is measured and kept.
        start: what the weights were begun with; None is a random start.
    """

    def __init__(
        self,
        recipe: Recipe,
        module: Learner | Network,
        data: Dataset,
        folder: Path,
        *,
        optimizer: OptimizerSettings,
        start: BaseModel | None = None,
    ) -> None:
        self.recipe, self.train, self.folder, self.settings, self.start = recipe, data, folder, optimizer, start
        self.state_path = folder / STATE_FILE
        self.augmentation = build_augmentation(recipe.augmentation)
        if start is not None:
            _begin_with(start, network_of(module), recipe)
        self.module = module
        self.answering = copy.deepcopy(module)
        network_of(module).precision = optimizer.precision
        self.state = TrainingState(
            module=module,
            average={name: p.detach().clone() for name, p in module.named_parameters()},
            optimizer=_optimizer(module, optimizer),
            generator=torch.Generator().manual_seed(recipe.seed),
        )

    @abstractmethod
    def backward(self) -> Tensor:
        """Draw what the next step trains on and leave the gradient in .grad; the loss, ()."""

    @abstractmethod
    def measured(self) -> tuple[float, float]:
        """Accuracy of `answering` and half of its 95 % interval, in percent."""

    @abstractmethod
    def is_measured(self) -> bool:
        """Whether the accuracy is due after this step."""

    @abstractmethod
    def finish(self) -> Path:
        """Write the base model."""

    def go(self, on_progress: Callable[[Progress], None], is_stopped: Callable[[], bool]) -> Outcome:
        """Train until the last step, or until `is_stopped` says so between two steps."""
        self.take_up()
        written_s = time.monotonic()
        while self.state.step < self.settings.steps:
            self.advance(on_progress)
            stopped = is_stopped()
            if stopped or time.monotonic() - written_s > self.recipe.checkpoint_s:
                self.write()
                written_s = time.monotonic()
            if stopped:
                return Outcome(False, self.state_path)
        self.write()
        return Outcome(True, self.finish())

    def take_up(self) -> None:
        """Go on from the folder's state, if it has one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.state_path.exists():
            read_state(self.state_path, self.state, self._identity())
        self.began_s = time.monotonic() - self.state.elapsed_s

    def write(self) -> None:
        """Put the state, the log and the learning curve on disk."""
        self.state.elapsed_s = time.monotonic() - self.began_s
        write_state(self.state_path, self.state, self._identity())
        _write_log(self.folder / "log.csv", self.state.log)
        (self.folder / "learning-curve.svg").write_text(curve_svg(self.recipe.id, self.state.log), encoding="utf-8")

    def advance(self, on_progress: Callable[[Progress], None]) -> None:
        """One step of the optimiser, and what is due after it."""
        state = self.state
        lr = learning_rate(self.settings, state.step)
        state.loss_sum += self.step(lr)
        state.step += 1
        if self.is_measured():
            self._measure()
        if state.step % LOG_EVERY_STEPS == 0 or state.step == self.settings.steps:
            on_progress(self._note(lr))

    def step(self, lr: float) -> float:
        """Train on what the next step draws; the loss."""
        optimizer = self.state.optimizer
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad()
        loss = self.backward()
        optimizer.step()
        # A young average follows faster, so that it forgets the random start.
        decay = min(self.settings.average_decay, (self.state.step + 1) / (self.state.step + 10))
        with torch.no_grad():
            for name, parameter in self.module.named_parameters():
                self.state.average[name].lerp_(parameter, 1 - decay)
        return loss.item()

    def distorted(self, rows: Tensor) -> Images:
        """Network input of these training images, augmented."""
        pixels = augmented(self.train.images[rows], self.augmentation, self.state.generator)
        return scaled(pixels, self.recipe.scaling)

    def settle(self) -> None:
        """Give `answering` the averaged weights, and normalisation statistics that belong to them.

        Statistics gathered along the way belong to other weights, so they are computed anew: the mean over
        batches of training images, undistorted as the images of a task are.
        """
        self.answering.load_state_dict({**self.module.state_dict(), **self.state.average})
        network = network_of(self.answering)
        if network.statistics != "running" or not getattr(self.answering, "moves_buffers", True):
            return
        rows = torch.cat(self.train.rows)
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(self.recipe.seed))
        n_seen = 0
        with torch.no_grad():
            for chosen in torch.split(rows[order][:_SETTLING_IMAGES], _SETTLING_BATCH):
                batch = BatchStatistics()
                network.backbone(scaled(self.train.images[chosen], self.recipe.scaling), batch)
                n_seen += len(chosen)
                move_buffers(batch, len(chosen) / n_seen)

    def _identity(self) -> dict[str, Any]:
        """What decides the run: a state of another one is refused."""
        return recipe_to_tables(self.recipe) | {"start": None if self.start is None else self.start.digest}

    def _measure(self) -> None:
        """Measure the averaged weights; keep them if they are the best so far."""
        self.settle()
        accuracy, interval = self.measured()
        best = max((entry["accuracy"] for entry in self.state.validations), default=-math.inf)
        if accuracy > best:
            self.state.chosen = {key: tensor.clone() for key, tensor in self.answering.state_dict().items()}
        self.state.validations.append({"step": self.state.step, "accuracy": accuracy, "interval_95": interval})

    def _note(self, lr: float) -> Progress:
        """Add a line to the log and say it; starts a new mean loss."""
        state, steps = self.state, self.settings.steps
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


def network_of(module: Learner | Network) -> Network:
    """The network that a learner adapts, or the network itself."""
    return module if isinstance(module, Network) else module.network


def initial_network(recipe: Recipe, n_way: int = 1) -> Network:
    """A freshly drawn network; draws from the global generator."""
    backbone = build_backbone(BackboneSpec(recipe.backbone.name, recipe.backbone.settings))
    n_features = backbone.n_features
    assert isinstance(n_features, int)
    return Network(backbone, n_features, n_way).to(memory_format=torch.channels_last)


def _begin_with(start: BaseModel, network: Network, recipe: Recipe) -> None:
    """Put the backbone of a base model into the network; changes it."""
    try:
        network.backbone.load_state_dict(start.network.backbone.state_dict())
    except RuntimeError as error:
        raise CheckpointError(f"{start.header.id} cannot start {recipe.id}: another backbone, {error}") from error


def _optimizer(module: nn.Module, settings: OptimizerSettings) -> torch.optim.Optimizer:
    trained = [p for p in module.parameters() if p.requires_grad]
    if settings.method == "sgd":
        return torch.optim.SGD(trained, lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay)
    return torch.optim.Adam(trained, weight_decay=settings.weight_decay)


def _write_log(path: Path, lines: Sequence[Mapping[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["step", "loss", "lr", "elapsed_s", "validation"])
        writer.writeheader()
        writer.writerows(lines)
