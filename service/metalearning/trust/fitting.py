"""Fits a learner's calibration on tasks of classes that it was not made from.

Tasks of many shapes are drawn from each domain, every fourth of them unbalanced; each domain has the same say.
All fits are regressions by a few Newton-like steps (L-BFGS), lightly penalised, so that the same features give the
same constants.

A user's images are of yet another domain. So the interval of the expected accuracy is made from the misses in each
domain of laws that were fitted without it: it is as wide as domains differ, not only as tasks of one do (a prediction
interval over domains, by cross-conformal quantiles: Vovk 2015, arXiv 1208.0806; Dunn et al. 2022, arXiv 1809.07441,
for groups), and wide enough by itself for tasks of few and of many images.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from service.metalearning.calibration import SMALLEST_VARIANCE, Calibration, Expectation, Law, factor_values
from service.metalearning.learners.head_learner import HeadLearner
from service.metalearning.trust.drawing import Distances, Domain, Task, answered, draw, draw_counts
from service.metalearning.trust.expected import evidence_values
from service.metalearning.trust.holding_out import HeldOut

FALSE_ALARMS = 0.05
PRECISION = 0.95
_LEAST_THRESHOLD = 0.05
_TAIL = 0.02
"""Share of tasks beyond each end of the interval, a little less than 2.5 %: domains are few."""
_FOLDS = 5
_NEVER = -1e4
_PENALTY = 1e-4
_FACTOR_PENALTIES = (_PENALTY,) * 4 + (1e-3,)
"""That of the separation is larger, because domains are few: the mean error on a domain that the law was not fitted on
is 1.61 % with the common penalty, 1.52 with ten times as much, 1.55 with a hundred times."""
_SMALLEST_MISS = 0.005
"""Added to a miss, so that tasks in which all answers are right do not rule its logarithm."""


def fit(learner: HeadLearner, domains: Sequence[Domain], *, episodes: int, seed: int = 0) -> Calibration:
    """The learner's constants.

    Args:
        learner: makes the heads.
        domains: classes that the base model was not made from; better several.
        episodes: tasks of each domain.
        seed: decides the tasks.
    """
    return fit_tasks(draw_tasks(learner, domains, episodes=episodes, seed=seed))


def draw_tasks(learner: HeadLearner, domains: Sequence[Domain], *, episodes: int, seed: int = 0) -> list[Task]:
    """Answered tasks of many shapes, as many from each domain."""
    generator = torch.Generator().manual_seed(seed)
    tasks = []
    for number, domain in enumerate(domains):
        for _ in range(episodes):
            drawn = draw(domain, draw_counts(domain, generator), generator)
            tasks.append(answered(learner, drawn, domain=number))
    return tasks


def fit_tasks(tasks: Sequence[Task]) -> Calibration:
    """The constants that suit these tasks."""
    values = torch.tensor([factor_values(task.counts, task.separation) for task in tasks])
    factor = _factor(tasks, values)
    factors = [math.exp(value) for value in (values @ torch.tensor(factor)).tolist()]
    unit_means = _unit_tells_more(tasks)
    distances = [task.distances[unit_means] for task in tasks]
    unknown = _unknown(tasks, distances)
    return Calibration(
        factor=factor,
        unknown=unknown,
        unknown_threshold=_unknown_threshold(tasks, distances, unknown),
        threshold=_threshold(tasks, factors),
        held_out=_from_evidence(tasks, factors),
        base_model=_expectation(tasks, [task.shape for task in tasks]),
        unit_means=unit_means,
    )


def auroc(known: Tensor, unseen: Tensor) -> float:
    """Share of pairs in which the unseen one is further; a tie is half of one."""
    gaps = unseen[:, None] - known
    return float((gaps.sign() + 1).mean() / 2)


def _factor(tasks: Sequence[Task], values: Tensor) -> Law:
    """The factor of least cross-entropy; each task has the same say."""
    n_queries = torch.tensor([len(task.labels) for task in tasks])
    n_way = max(len(task.counts) for task in tasks)
    # classes that a task does not have get a logit that no factor makes likely
    logits = torch.cat([F.pad(task.logits, (0, n_way - task.logits.shape[1]), value=_NEVER) for task in tasks])
    labels = torch.cat([task.labels for task in tasks])
    of_query = values.repeat_interleave(n_queries, 0)
    weights = (1 / n_queries / len(tasks)).repeat_interleave(n_queries)

    def loss(law: Tensor) -> Tensor:
        factors = (of_query @ law).exp()[:, None]
        return (weights * F.cross_entropy(factors * logits, labels, reduction="none")).sum()

    return _minimised(loss, values.shape[1], penalty=torch.tensor(_FACTOR_PENALTIES))


def _unit_tells_more(tasks: Sequence[Task]) -> bool:
    """Whether distances to means of unit length have the higher mean AUROC."""
    means = [
        sum(auroc(task.distances[unit].known, task.distances[unit].unseen) for task in tasks) for unit in (False, True)
    ]
    return means[True] > means[False]


def _unknown(tasks: Sequence[Task], distances: Sequence[Distances]) -> tuple[Law, Law]:
    shapes, values, targets = [], [], []
    for task, of_task in zip(tasks, distances, strict=True):
        for distance, is_unknown in ((of_task.known, 0.0), (of_task.unseen, 1.0)):
            shapes.append(torch.tensor(task.shape).expand(len(distance), -1))
            values.append(distance)
            targets.append(torch.full((len(distance),), is_unknown))
    x, d, y = torch.cat(shapes), torch.cat(values), torch.cat(targets)

    def loss(laws: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(x @ laws[:3] + (x @ laws[3:]).exp() * d, y)

    laws = _minimised(loss, 2 * x.shape[1], penalty=1e-5)
    return laws[:3], laws[3:]


def _unknown_threshold(tasks: Sequence[Task], distances: Sequence[Distances], unknown: tuple[Law, Law]) -> Law:
    """By shape, the logit of the score that FALSE_ALARMS of the queries reach."""

    def quantile(members: Sequence[int]) -> float:
        scores = []
        for index in members:
            constant, weight = (sum(a * b for a, b in zip(law, tasks[index].shape, strict=True)) for law in unknown)
            scores.append(constant + math.exp(weight) * distances[index].known)
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
    """The laws of all domains, with an interval from the misses in each domain by the laws of the others."""
    x = torch.tensor(values)
    y = torch.tensor([task.accuracy for task in tasks])
    law, spread = _laws(x, y)
    misses = torch.empty(len(tasks))
    for left_out in _left_out(tasks):
        misses[left_out] = _misses(x[left_out], y[left_out], *_laws(x[~left_out], y[~left_out]))
    few = x[:, 2] <= x[:, 2].median()
    parts = [misses[part] for part in (few, ~few) if part.any()]
    low = min(float(part.quantile(_TAIL)) for part in parts)
    high = max(float(part.quantile(1 - _TAIL)) for part in parts)
    return Expectation(law, spread, round(low, 4), round(high, 4))


def _laws(x: Tensor, y: Tensor) -> tuple[Law, Law]:
    """Laws of the logit of the accuracies y, and of ln of the size of what it misses."""
    law = _minimised(lambda w: F.binary_cross_entropy_with_logits(x @ w, y), x.shape[1])
    p = (x @ torch.tensor(law)).sigmoid()
    size = ((y - p).abs() + _SMALLEST_MISS).log()
    return law, _least_squares(_of_spread(x, p), size, torch.ones(len(x)))


def _misses(x: Tensor, y: Tensor, law: Law, spread: Law) -> Tensor:
    """Found less expected accuracy, in standard deviations."""
    p = (x @ torch.tensor(law)).sigmoid()
    return (y - p) / (_of_spread(x, p) @ torch.tensor(spread)).exp()


def _of_spread(x: Tensor, p: Tensor) -> Tensor:
    return torch.cat([x[:, :3], (p * (1 - p) + SMALLEST_VARIANCE).log()[:, None]], 1)


def _left_out(tasks: Sequence[Task]) -> Iterator[Tensor]:
    """Which tasks are of each domain; of one domain alone, every FOLDS-th."""
    numbers = torch.tensor([task.domain for task in tasks])
    if len(torch.unique(numbers)) == 1:
        numbers = torch.arange(len(tasks)) % _FOLDS
    for number in torch.unique(numbers).tolist():
        yield numbers == number


def _least_squares(x: Tensor, y: Tensor, weights: Tensor) -> Law:
    x, y, w = x.double(), y.double(), weights.double()
    gram = x.T @ (w[:, None] * x) + _PENALTY * w.sum() * torch.eye(x.shape[1], dtype=torch.double)
    return _rounded(torch.linalg.solve(gram, x.T @ (w * y)))


def _minimised(loss: Callable[[Tensor], Tensor], n: int, *, penalty: float | Tensor = _PENALTY) -> Law:
    law = torch.zeros(n, requires_grad=True)
    optimiser = torch.optim.LBFGS([law], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimiser.zero_grad()
        value = loss(law) + (penalty * law.square()).sum()
        torch.autograd.backward(value)
        return float(value.detach())

    with torch.enable_grad():
        optimiser.step(closure)  # type: ignore[no-untyped-call]  # torch leaves it so
    return _rounded(law.detach())


def _rounded(law: Tensor) -> Law:
    return tuple(round(value, 5) for value in law.tolist())
