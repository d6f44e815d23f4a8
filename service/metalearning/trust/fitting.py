"""Fits a learner's calibration on tasks of classes that it was not made from.

Tasks of many shapes are drawn from each data set, every fourth of them unbalanced; each data set has the same say.
All fits are regressions by a few Newton-like steps (L-BFGS), lightly penalised, so that the same features give the
same constants. The interval of the expected accuracy is made wide enough for each data set
by itself, and there for tasks of few and of many images.
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from service.metalearning.calibration import SMALLEST_VARIANCE, Calibration, Expectation, Law
from service.metalearning.learners.closed_form import HeadLearner
from service.metalearning.trust.drawing import Kinds, Task, answered, draw, draw_counts
from service.metalearning.trust.expected import evidence_values
from service.metalearning.trust.holding_out import HeldOut

FALSE_ALARMS = 0.05
PRECISION = 0.95
_LEAST_THRESHOLD = 0.05
_TAIL = 0.02
"""Share of tasks beyond each end of the interval, a little less than 2.5 %: new classes differ from these."""
_PENALTY = 1e-4
_SMALLEST_MISS = 0.005
"""Added to a miss, so that tasks in which all answers are right do not rule its logarithm."""


def fit(learner: HeadLearner, datasets: Sequence[Kinds], *, episodes: int, seed: int = 0) -> Calibration:
    """The learner's constants.

    Args:
        learner: makes the heads.
        datasets: classes that the base model was not made from.
        episodes: tasks of each data set.
        seed: decides the tasks.
    """
    generator = torch.Generator().manual_seed(seed)
    tasks = []
    for number, kinds in enumerate(datasets):
        for _ in range(episodes):
            counts = draw_counts(kinds, generator)
            tasks.append(answered(learner, draw(kinds, counts, generator), dataset=number))
    return fit_tasks(tasks)


def fit_tasks(tasks: Sequence[Task]) -> Calibration:
    """The constants that suit these tasks."""
    shapes = torch.tensor([task.shape for task in tasks])
    factor = _factor(tasks, shapes)
    factors = [math.exp(value) for value in (shapes @ torch.tensor(factor)).tolist()]
    unknown = _unknown(tasks)
    return Calibration(
        factor=factor,
        unknown=unknown,
        unknown_threshold=_unknown_threshold(tasks, unknown),
        threshold=_threshold(tasks, factors),
        held_out=_from_evidence(tasks, factors),
        base_model=_expectation(tasks, [task.shape for task in tasks]),
    )


def _factor(tasks: Sequence[Task], shapes: Tensor) -> Law:
    def loss(law: Tensor) -> Tensor:
        factors = (shapes @ law).exp()
        losses = [
            F.cross_entropy(factor * task.logits, task.labels) for factor, task in zip(factors, tasks, strict=True)
        ]
        return torch.stack(losses).mean()

    return _minimised(loss, shapes.shape[1])


def _unknown(tasks: Sequence[Task]) -> tuple[Law, Law]:
    inputs, targets = [], []
    for task in tasks:
        for distance, is_unknown in ((task.distance, 0.0), (task.unseen_distance, 1.0)):
            statistics = torch.stack([torch.ones_like(distance), distance], 1)
            inputs.append((statistics[:, :, None] * torch.tensor(task.shape)).flatten(1))
            targets.append(torch.full((len(distance),), is_unknown))
    x, y = torch.cat(inputs), torch.cat(targets)
    law = _minimised(lambda w: F.binary_cross_entropy_with_logits(x @ w, y), x.shape[1], penalty=1e-5)
    return law[:3], law[3:]


def _unknown_threshold(tasks: Sequence[Task], unknown: tuple[Law, Law]) -> Law:
    """By shape, the logit of the score that FALSE_ALARMS of the queries reach."""

    def quantile(members: Sequence[int]) -> float:
        scores = []
        for task in (tasks[index] for index in members):
            constant, weight = (sum(a * b for a, b in zip(law, task.shape, strict=True)) for law in unknown)
            scores.append(constant + weight * task.distance)
        return float(torch.cat(scores).quantile(1 - FALSE_ALARMS))

    return _law_of_groups(tasks, quantile)


def _threshold(tasks: Sequence[Task], factors: Sequence[float]) -> Law:
    """By shape, the logit of the least top probability above which PRECISION of the answers are right."""

    def least(members: Sequence[int]) -> float:
        confidence = torch.cat([(factors[i] * tasks[i].logits).softmax(-1).amax(-1) for i in members])
        is_right = torch.cat([tasks[i].logits.argmax(-1) == tasks[i].labels for i in members])
        order = confidence.argsort(descending=True)
        precision = is_right[order].double().cumsum(0) / torch.arange(1, len(order) + 1)
        enough = (precision >= PRECISION).nonzero()
        last = confidence[order[int(enough.max()) if len(enough) else 0]]
        return float(last.clamp(_LEAST_THRESHOLD, 1 - 1e-3).logit())

    return _law_of_groups(tasks, least)


def _law_of_groups(tasks: Sequence[Task], value: Callable[[Sequence[int]], float]) -> Law:
    """The law that fits a value of the tasks of each shape best, in least squares weighted by how many they are."""
    groups: dict[tuple[int, int], list[int]] = {}
    for index, task in enumerate(tasks):
        groups.setdefault((len(task.counts), round(2 * task.shape[2])), []).append(index)
    x = torch.stack([torch.tensor([tasks[i].shape for i in group]).mean(0) for group in groups.values()]).double()
    y = torch.tensor([value(group) for group in groups.values()]).double()
    w = torch.tensor([float(len(group)) for group in groups.values()]).double()
    return _least_squares(x, y, w)


def _from_evidence(tasks: Sequence[Task], factors: Sequence[float]) -> Expectation:
    values, told = [], []
    for task, factor in zip(tasks, factors, strict=True):
        evidence = HeldOut(task.evidence.logits * factor, task.evidence.answered)
        found = evidence_values(evidence, task.support_labels)
        if found is not None:
            values.append((*task.shape, *found))
            told.append(task)
    return _expectation(told, values)


def _expectation(tasks: Sequence[Task], values: Sequence[Sequence[float]]) -> Expectation:
    x = torch.tensor(values)
    y = torch.tensor([task.accuracy for task in tasks])
    law = _minimised(lambda w: F.binary_cross_entropy_with_logits(x @ w, y), x.shape[1])
    p = (x @ torch.tensor(law)).sigmoid()
    z = torch.cat([x[:, :3], (p * (1 - p) + SMALLEST_VARIANCE).log()[:, None]], 1)
    missed = y - p
    spread = _least_squares(z, (missed.abs() + _SMALLEST_MISS).log(), torch.ones(len(z)))
    scaled = missed / (z @ torch.tensor(spread)).exp()
    parts = _kinds_of_tasks(tasks)
    low = min(float(scaled[part].quantile(_TAIL)) for part in parts)
    high = max(float(scaled[part].quantile(1 - _TAIL)) for part in parts)
    return Expectation(law, spread, round(low, 4), round(high, 4))


def _kinds_of_tasks(tasks: Sequence[Task]) -> list[Tensor]:
    """Numbers of the tasks of each data set with few and with many images a class."""
    dataset = torch.tensor([task.dataset for task in tasks])
    shots = torch.tensor([task.shape[2] for task in tasks])
    is_small = shots <= shots.median()
    kinds = [(dataset == number) & side for number in torch.unique(dataset).tolist() for side in (is_small, ~is_small)]
    return [kind.nonzero().flatten() for kind in kinds if kind.any()]


def _least_squares(x: Tensor, y: Tensor, weights: Tensor) -> Law:
    x, y, w = x.double(), y.double(), weights.double()
    gram = x.T @ (w[:, None] * x) + _PENALTY * w.sum() * torch.eye(x.shape[1], dtype=torch.double)
    return _rounded(torch.linalg.solve(gram, x.T @ (w * y)))


def _minimised(loss: Callable[[Tensor], Tensor], n: int, *, penalty: float = _PENALTY) -> Law:
    law = torch.zeros(n, requires_grad=True)
    optimiser = torch.optim.LBFGS([law], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimiser.zero_grad()
        value = loss(law) + penalty * law.square().sum()
        torch.autograd.backward(value)
        return float(value.detach())

    with torch.enable_grad():
        optimiser.step(closure)  # type: ignore[no-untyped-call]  # torch leaves it so
    return _rounded(law.detach())


def _rounded(law: Tensor) -> Law:
    return tuple(round(value, 5) for value in law.tolist())
