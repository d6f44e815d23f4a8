"""The figures of `handful evaluate`: every learner asked for, on every shape asked for."""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from service.cli.output import progress, say
from service.errors import DatasetError
from service.metalearning.datasets import DATASETS, SPLITS, Dataset, Decode, with_rotations
from service.metalearning.evaluation import Answering, Measurement, before_adaptation, measure
from service.metalearning.header import BaseModelHeader, Figure, InputFormat
from service.metalearning.sampling import EpisodeShape
from service.metalearning.serialization import BaseModel, load_base_model

HEADER = ("learner", "way", "shot", "accuracy %", "± 95 %", "episodes", "adapt ms", "nll", "before %")
_EPISODES_BEFORE = 50


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure.

    Attributes:
        dataset: name of the data set; None is the one that the base model was trained on.
        learners: names; none is the default learner, `all` is every learner offered.
        transductive: queries are normalised by their own statistics, for reproducing papers.
    """

    data: Path
    dataset: str | None
    split: str
    shapes: tuple[EpisodeShape, ...]
    episodes: int
    learners: tuple[str, ...]
    seed: int = 0
    transductive: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One learner on one shape.

    Attributes:
        before: accuracy before the first step, in percent; None for a learner that takes no steps.
    """

    dataset: str
    learner: str
    measured: Measurement
    before: float | None

    def as_result(self) -> dict[str, object]:
        """What `--json` prints."""
        at = self.as_figure()
        return {
            "learner": at.learner,
            "n_way": at.n_way,
            "n_shot": at.n_shot,
            "accuracy": at.accuracy,
            "interval_95": at.interval_95,
            "episodes": at.episodes,
            "adapt_ms": round(self.measured.adapt_ms, 3),
            "inductive": at.inductive,
        }

    def as_figure(self) -> Figure:
        """What a checkpoint's header says."""
        at = self.measured
        accuracy, interval = round(at.accuracy, 2), round(at.interval_95, 2)
        return Figure(self.dataset, self.learner, at.n_way, at.n_shot, accuracy, interval, at.episodes, at.inductive)

    def as_cells(self) -> tuple[object, ...]:
        """What a table shows, under HEADER."""
        at = self.measured
        shown = (f"{at.accuracy:.2f}", f"{at.interval_95:.2f}", at.episodes, f"{at.adapt_ms:.2f}", f"{at.nll:.3f}")
        learner = self.learner if at.inductive else f"{self.learner}, transductive"
        return (learner, at.n_way, at.n_shot, *shown, None if self.before is None else f"{self.before:.2f}")


def measured_rows(checkpoint: Path, plan: Plan, decoder: Callable[[InputFormat], Decode]) -> list[Row]:
    """The figures of a checkpoint.

    Raises:
        CheckpointError: the file is no base model.
        DatasetError: the data set is unknown, cannot be read or is too small.
        UnknownLearner: the base model does not offer a learner of the plan.
    """
    base = load_base_model(checkpoint)
    learners = tuple(base.header.learners) if "all" in plan.learners else plan.learners
    learners = learners or (base.header.default_learner,)
    for name in learners:
        base.learner(name)
    dataset = _read(base.header, plan, decoder)
    if dataset.trials:
        plan = _of_trials(plan, dataset)
        n_way = plan.shapes[0].n_way
        say(f"{dataset.name} is a test of {plan.episodes} fixed episodes, {n_way}-way: the mean is theirs")
    with progress("episodes", len(learners) * len(plan.shapes) * plan.episodes) as advance:
        return list(_rows(base, dataset, plan, learners, lambda: advance(1)))


def _rows(
    base: BaseModel, dataset: Dataset, plan: Plan, learners: tuple[str, ...], on_episode: Callable[[], None]
) -> Iterator[Row]:
    header = base.header
    for name in learners:
        answering = Answering(base.learner(name), header.scaling, plan.transductive)
        start = before_adaptation(base, name)
        for shape in plan.shapes:
            measured = measure(answering, dataset, shape, episodes=plan.episodes, seed=plan.seed, on_episode=on_episode)
            before = None
            if start is not None:
                at_start = Answering(start, header.scaling, plan.transductive)
                before = measure(at_start, dataset, shape, episodes=_EPISODES_BEFORE, seed=plan.seed).accuracy
            yield Row(dataset.name, name, measured, before)


def _of_trials(plan: Plan, dataset: Dataset) -> Plan:
    """The plan with the ways, shots and episodes that a data set of fixed trials has."""
    shape = EpisodeShape(len(dataset.trials[0]), len(dataset.rows[0]), 1)
    return dataclasses.replace(plan, shapes=(shape,), episodes=len(dataset.trials))


def _read(header: BaseModelHeader, plan: Plan, decoder: Callable[[InputFormat], Decode]) -> Dataset:
    trained_on = header.provenance.get("dataset")
    name = plan.dataset or trained_on
    if not isinstance(name, str) or name not in DATASETS:
        raise DatasetError(f"data set {name!r} is unknown, name one of {', '.join(DATASETS)} with --dataset")
    if plan.split not in SPLITS:
        raise DatasetError(f"split {plan.split!r} is unknown, expected one of {', '.join(SPLITS)}")
    dataset = DATASETS[name](plan.data, plan.split, decoder(header.input))
    if dataset.trials:
        return dataset
    turned = name == "omniglot" or (name == trained_on and bool(header.provenance.get("rotations")))
    return with_rotations(dataset) if turned else dataset
