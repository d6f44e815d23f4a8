"""How a calibration does on a domain that it was not fitted on: the nearest there is to a user's images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from service.metalearning.calibration import Calibration
from service.metalearning.trust.drawing import Task
from service.metalearning.trust.expected import expected_accuracy
from service.metalearning.trust.fitting import auroc, fit_tasks
from service.metalearning.trust.holding_out import HeldOut

BINS = 15


@dataclass(frozen=True, slots=True)
class Transfer:
    """Figures of one domain, in percent.

    Attributes:
        error_before, error: expected calibration error of its queries, before and after.
        softmax_auroc, unknown_auroc: mean over tasks, of the top probability and of the unknown score.
        coverage: share of tasks whose accuracy lies in the interval.
        bias: mean of expected less found accuracy, in points.
    """

    error_before: float
    error: float
    softmax_auroc: float
    unknown_auroc: float
    coverage: float
    bias: float

    def __str__(self) -> str:
        return (
            f"ECE {self.error_before:5.2f} -> {self.error:5.2f}  AUROC {self.softmax_auroc:.1f} -> "
            f"{self.unknown_auroc:.1f}  covered {self.coverage:5.1f}, bias {self.bias:+.2f}"
        )


def transfers(tasks: Sequence[Task]) -> Iterator[Transfer]:
    """For each domain, by its number, the figures of constants that were fitted on the others."""
    for number in sorted({task.domain for task in tasks}):
        others = fit_tasks([task for task in tasks if task.domain != number])
        yield transfer(others, [task for task in tasks if task.domain == number])


def transfer(calibration: Calibration, tasks: Sequence[Task]) -> Transfer:
    """The figures of these constants on these tasks."""
    factors = [calibration.logit_factor(task.counts, task.separation) for task in tasks]
    covered, bias = zip(*(_expectation(task, calibration) for task in tasks), strict=True)
    scaled = [(task, factor) for task, factor in zip(tasks, factors, strict=True)]
    return Transfer(
        error_before=_error([(task, 1.0) for task in tasks]),
        error=_error(scaled),
        softmax_auroc=_mean([auroc(-_top(f * task.logits), -_top(f * task.unseen_logits)) for task, f in scaled]),
        unknown_auroc=_mean([_unknown_auroc(task, calibration) for task in tasks]),
        coverage=_mean(covered),
        bias=_mean(bias),
    )


def _unknown_auroc(task: Task, calibration: Calibration) -> float:
    distances = task.distances[calibration.unit_means]
    return auroc(distances.known, distances.unseen)


def _expectation(task: Task, calibration: Calibration) -> tuple[float, float]:
    factor = calibration.logit_factor(task.counts, task.separation)
    evidence = HeldOut(task.evidence.logits * factor, task.evidence.answered)
    expected = expected_accuracy(calibration, task.counts, task.support_labels, evidence)
    low, high = expected.interval_95
    return float(low <= task.accuracy <= high), expected.accuracy - task.accuracy


def _error(scaled: Sequence[tuple[Task, float]]) -> float:
    """Expected calibration error by bins of equal width."""
    confidence = torch.cat([_top(factor * task.logits) for task, factor in scaled])
    is_right = torch.cat([task.logits.argmax(-1) == task.labels for task, _ in scaled]).float()
    of_bin = (confidence * BINS).long().clamp(max=BINS - 1)
    gaps = torch.zeros(BINS).index_add_(0, of_bin, is_right - confidence)
    return float(100 * gaps.abs().sum() / len(confidence))


def _top(logits: Tensor) -> Tensor:
    return logits.softmax(-1).amax(-1)


def _mean(shares: Sequence[float]) -> float:
    return 100 * sum(shares) / len(shares)
