"""The accuracy to expect of a task, told from its support set alone.

Answers to held-out examples are the evidence. They are few, the heads that gave them had fewer images than the task's
own, and their plain share with a Wilson interval was seen to cover 73 to 81 % of tasks; so the accuracy is predicted
by a logistic regression on what they say, fitted on tasks of validation classes (`fitting`). Where too little can be
held out, the accuracy is what the base model has on tasks of this shape.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from service.metalearning.calibration import Calibration, shape_values
from service.metalearning.episodes import Labels
from service.metalearning.trust.holding_out import HeldOut

Basis = Literal["leave-one-out", "base-model"]


@dataclass(frozen=True, slots=True)
class ExpectedAccuracy:
    """Accuracy on further images, classes counting alike, with its 95 % interval; all of 0..1."""

    accuracy: float
    interval_95: tuple[float, float]
    basis: Basis


def expected_accuracy(
    calibration: Calibration, counts: Sequence[int], labels: Labels, evidence: HeldOut | None
) -> ExpectedAccuracy:
    """The accuracy to expect.

    Args:
        calibration: of the learner.
        counts: images of each class.
        labels: of the support examples.
        evidence: calibrated answers to held-out examples; None where there are none.
    """
    values = None if evidence is None else evidence_values(evidence, labels)
    if values is None:
        accuracy, interval = calibration.base_model.accuracy(shape_values(counts))
        return ExpectedAccuracy(accuracy, interval, "base-model")
    accuracy, interval = calibration.held_out.accuracy((*shape_values(counts), *values))
    return ExpectedAccuracy(accuracy, interval, "leave-one-out")


def evidence_values(evidence: HeldOut, labels: Labels) -> tuple[float, float, float] | None:
    """What held-out answers say, classes counting alike; None where some class has no answer.

    The logits of the share of right answers, of the mean probability of the right class, and of the mean of the top
    probability, each pulled towards one half as if by one more image that is half right.
    """
    classes = torch.unique(labels)
    of_class = [evidence.answered & (labels == index) for index in classes.tolist()]
    if not all(bool(rows.any()) for rows in of_class):
        return None
    probabilities = evidence.logits.softmax(dim=-1)
    truth = probabilities.gather(1, labels[:, None])[:, 0]
    is_right = (evidence.logits.argmax(-1) == labels).to(truth.dtype)
    n = int(evidence.answered.sum())
    means = [_mean(each, of_class) for each in (is_right, truth, probabilities.amax(-1))]
    share, of_truth, of_top = [_logit((mean * n + 0.5) / (n + 1)) for mean in means]
    return share, of_truth, of_top


def _mean(values: Tensor, of_class: Sequence[Tensor]) -> float:
    return float(torch.stack([values[rows].mean() for rows in of_class]).mean())


def _logit(share: float) -> float:
    return math.log(share / (1 - share))
