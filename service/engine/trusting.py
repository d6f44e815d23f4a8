"""What an adaptation adds to a head, so that its answers can be trusted, and what it says about the support set.

The report speaks of classes and examples by number, `label` and `example_ids` being places in the request: who asked
knows their names (`usecases.reports`).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from service.engine.base import AdaptRequest
from service.metalearning.calibration import Calibration
from service.metalearning.learners.base import Pause, TaskParameters
from service.metalearning.learners.head_learner import HeadLearner
from service.metalearning.trust.answers import calibrated, with_unknown
from service.metalearning.trust.assessment import Assessment, assess, assess_counts
from service.metalearning.trust.expected import ExpectedAccuracy


def trusted(head: TaskParameters, rows: Tensor, labels: Tensor, calibration: Calibration | None) -> TaskParameters:
    """The head with calibrated logits and an unknown score, where the base model has the constants.

    Args:
        head: as the learner made it.
        rows: features of each example, (n, n_features).
        labels: of the examples.
        calibration: the learner's constants.
    """
    if calibration is None:
        return head
    return calibrated(with_unknown(head, calibration, rows, labels), calibration, rows, labels)


def assessed(
    learner: HeadLearner,
    rows: Tensor,
    request: AdaptRequest,
    *,
    calibration: Calibration | None,
    pause: Pause,
) -> dict[str, Any]:
    """The part of a report that features can tell."""
    labels = torch.tensor(request.labels)
    with torch.no_grad():
        assessment = assess(learner, rows, labels, calibration=calibration, groups=request.groups, pause=pause)
    return assessment_fields(assessment)


def assessed_without_features(labels: Sequence[int], calibration: Calibration | None) -> dict[str, Any]:
    """The part of a report that is known of a learner that adapts the network."""
    return assessment_fields(assess_counts(torch.bincount(torch.tensor(labels)).tolist(), calibration))


def assessment_fields(assessment: Assessment) -> dict[str, Any]:
    """The assessment as JSON values; what cannot be said is left out."""
    recalls = assessment.recalls or (None,) * len(assessment.counts)
    fields = {
        "expected_accuracy": _expected(assessment.expected),
        "classes": [
            {"label": index, "n_examples": count, "recall": recall}
            for index, (count, recall) in enumerate(zip(assessment.counts, recalls, strict=True))
        ],
        "confusion": [list(row) for row in assessment.confusion] if any(map(any, assessment.confusion)) else None,
        "suspects": [
            {"example_id": each.example, "nearest_label": each.nearest, "reason": "nearest-to-another-class"}
            for each in assessment.suspects
        ],
        "warnings": [
            {"code": each.code, "labels": list(each.classes), "example_ids": list(each.examples)}
            for each in assessment.findings
        ],
        "threshold": assessment.thresholds or None,
        "unbalanced": _detection(assessment),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _expected(expected: ExpectedAccuracy | None) -> dict[str, Any] | None:
    if expected is None:
        return None
    interval = [round(end, 4) for end in expected.interval_95]
    return {"accuracy": round(expected.accuracy, 4), "interval_95": interval, "basis": expected.basis}


def _detection(assessment: Assessment) -> dict[str, Any] | None:
    found = assessment.detection
    if found is None:
        return None
    recalls = [{"false_alarm_rate": rate, "recall": round(recall, 4)} for rate, recall in found.recalls]
    precision = round(found.average_precision, 4)
    return {"label": found.label, "recall_at_false_alarm": recalls, "average_precision": precision}
