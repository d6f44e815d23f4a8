"""The figures of an evaluation, worked out from answers to a query set or from a version's report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np

from service.usecases import measures
from service.usecases.measures import Calibration
from service.usecases.serving import ServingVersion
from service.usecases.views import ImagePrediction

THRESHOLDS = (*(round(0.05 * step, 2) for step in range(20)), 0.98, 0.99)
UNKNOWN = -1
"""In place of a class: none of the task's."""


@dataclass(frozen=True, slots=True)
class ClassEvaluation:
    """The figures of one class; None where a figure would be 0 / 0, or is not in a report."""

    label: str
    support: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True, slots=True)
class ThresholdEvaluation:
    """What a threshold would do; `unknown_answered` is the share of unknown images that it lets through."""

    threshold: float
    coverage: float
    accuracy: float | None
    unknown_answered: float | None


@dataclass(frozen=True, slots=True)
class UnknownEvaluation:
    """How well the unknown score tells images of other classes; `labels` are those that the task does not have."""

    n_images: int
    labels: tuple[str, ...]
    auroc: float | None


@dataclass(frozen=True, slots=True)
class EvaluationView:
    """Figures of one version.

    Attributes:
        basis: what they are measured on: `query-set`, or `leave-one-out` and `base-model` from the version's report.
        n_images: images of the task's classes.
        interval_95: of the accuracy; on a query set that of Wilson, which takes images for independent.
        confusion: rows are true classes, columns answers, in the order of `classes`.
        calibration, thresholds, unknown: on a query set only.
    """

    task_id: UUID
    version: int
    basis: str
    n_images: int
    accuracy: float
    interval_95: tuple[float, float]
    balanced_accuracy: float | None
    classes: tuple[ClassEvaluation, ...]
    confusion: tuple[tuple[int, ...], ...] | None
    calibration: Calibration | None
    thresholds: tuple[ThresholdEvaluation, ...]
    unknown: UnknownEvaluation | None
    timings_ms: Mapping[str, float]


def evaluated(
    task_id: UUID,
    serving: ServingVersion,
    labels: Sequence[str],
    truth: Sequence[int],
    answers: Sequence[ImagePrediction],
    timings_ms: Mapping[str, float],
) -> EvaluationView:
    """What answers to a query set say; `truth` has the class of each image, or UNKNOWN."""
    class_of = {label: index for index, label in enumerate(serving.labels)}
    answered = np.array([class_of[each.label] for each in answers])
    confidence = np.array([each.probability for each in answers])
    true = np.array(truth)
    known = true != UNKNOWN
    is_right = (true == answered)[known]
    confusion = measures.confusion_counts(true[known].tolist(), answered[known].tolist(), len(serving.labels))
    n_right, n_images = int(is_right.sum()), int(known.sum())
    return EvaluationView(
        task_id=task_id,
        version=serving.number,
        basis="query-set",
        n_images=n_images,
        accuracy=n_right / n_images,
        interval_95=measures.wilson_interval(n_right, n_images),
        balanced_accuracy=measures.balanced_accuracy(confusion),
        classes=_classes(serving.labels, confusion),
        confusion=_rows(confusion),
        calibration=measures.calibration(confidence[known], is_right),
        thresholds=_thresholds(confidence, known, is_right),
        unknown=_unknown(labels, known, np.array([_unknown_score(each) for each in answers])),
        timings_ms=timings_ms,
    )


def reported(task_id: UUID, number: int, report: Mapping[str, Any]) -> EvaluationView:
    """What the report of a version says of its own examples."""
    expected = report["expected_accuracy"]
    counts = report.get("confusion")
    confusion = None if counts is None else np.array(counts, np.int64)
    of_report = report.get("classes") or []
    labels = [each["label"] for each in of_report]
    low, high = expected["interval_95"]
    return EvaluationView(
        task_id=task_id,
        version=number,
        basis=expected["basis"],
        n_images=sum(each["n_examples"] for each in of_report),
        accuracy=expected["accuracy"],
        interval_95=(low, high),
        balanced_accuracy=None if confusion is None else measures.balanced_accuracy(confusion),
        classes=_classes(labels, confusion) if confusion is not None else _classes_of_report(of_report),
        confusion=None if confusion is None else _rows(confusion),
        calibration=None,
        thresholds=(),
        unknown=None,
        timings_ms={},
    )


def _unknown_score(answer: ImagePrediction) -> float:
    """How much the answer says that the image is of no class; without an unknown score, that it is not sure."""
    return 1 - answer.probability if answer.unknown is None else answer.unknown


def _classes(labels: Sequence[str], confusion: measures.Counts) -> tuple[ClassEvaluation, ...]:
    found = zip(labels, measures.class_figures(confusion), strict=True)
    return tuple(ClassEvaluation(label, each.support, each.precision, each.recall, each.f1) for label, each in found)


def _rows(confusion: measures.Counts) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(count) for count in row) for row in confusion)


def _thresholds(
    confidence: measures.Scores, known: measures.Flags, is_right: measures.Flags
) -> tuple[ThresholdEvaluation, ...]:
    unknown = confidence[~known]
    return tuple(
        ThresholdEvaluation(
            each.threshold,
            each.coverage,
            each.accuracy,
            measures.answered_share(unknown, each.threshold) if len(unknown) else None,
        )
        for each in measures.threshold_table(confidence[known], is_right, THRESHOLDS)
    )


def _unknown(labels: Sequence[str], known: measures.Flags, scores: measures.Scores) -> UnknownEvaluation | None:
    if known.all():
        return None
    strange = dict.fromkeys(label for label, is_known in zip(labels, known, strict=True) if not is_known)
    return UnknownEvaluation(int((~known).sum()), tuple(strange), measures.auroc(scores, ~known))


def _classes_of_report(of_report: Sequence[Mapping[str, Any]]) -> tuple[ClassEvaluation, ...]:
    return tuple(
        ClassEvaluation(each["label"], each["n_examples"], None, each.get("recall"), None) for each in of_report
    )
