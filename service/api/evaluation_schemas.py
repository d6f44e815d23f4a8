"""The fields of an evaluation and its answer as pydantic models."""

from collections.abc import Mapping
from typing import Literal
from uuid import UUID

from pydantic import Field

from service.api.schemas import Answered, Taken


class NoQuerySet(Taken):
    """An evaluation that sends no image: the version's own report is told."""


class EvaluationFields(Taken):
    """The fields of a form with a query set, beside its images."""

    unknown_labels: Literal["refuse", "count"] = Field(
        "refuse",
        description="images whose label the version does not have: refuse the request, or count them as images of "
        "none of its classes, to judge the unknown score by",
    )


class ClassEvaluation(Answered):
    """The figures of one class; null where a figure would be 0 / 0, or is not in the report."""

    label: str
    support: int = Field(description="images that are of it")
    precision: float | None = Field(description="share of what was called so that is so")
    recall: float | None = Field(description="share of what is so that was called so")
    f1: float | None = Field(description="harmonic mean of precision and recall")


class CalibrationBin(Answered):
    """The answers whose probability is above `low` and at most `high`; the first bin has 0 too."""

    low: float
    high: float
    n_images: int
    probability: float | None = Field(description="mean probability of the answers")
    accuracy: float | None = Field(description="share of them that is right")


class Calibration(Answered):
    """How far probabilities are from how often they are right."""

    error: float = Field(description="expected calibration error: mean gap of the bins, weighted by their images")
    bins: tuple[CalibrationBin, ...] = Field(description="15 of equal width")


class ThresholdEvaluation(Answered):
    """What happens where answers of a probability below `threshold` are withheld."""

    threshold: float
    coverage: float = Field(description="share of the images that is answered")
    accuracy: float | None = Field(description="among those answered; null where none is")
    unknown_answered: float | None = Field(description="share of the unknown images that is answered")


class UnknownEvaluation(Answered):
    """How well the unknown score tells the images whose label the version does not have."""

    n_images: int
    labels: tuple[str, ...]
    auroc: float | None = Field(description="chance that an unknown image scores above a known one; 0.5 is guessing")


class Evaluation(Answered):
    """How good a version is."""

    task_id: UUID
    version: int
    basis: str = Field(
        description="`query-set`; without one, what the version's report says of its own examples: `leave-one-out`, or "
        "`base-model` where they are too few for that",
        examples=["query-set"],
    )
    n_images: int = Field(description="images of the version's classes")
    accuracy: float
    interval_95: tuple[float, float] = Field(description="of the accuracy; Wilson's on a query set")
    balanced_accuracy: float | None = Field(description="mean recall of the classes that have an image")
    classes: tuple[ClassEvaluation, ...]
    confusion: tuple[tuple[int, ...], ...] | None = Field(
        description="rows are true classes, columns answers, in the order of `classes`"
    )
    calibration: Calibration | None = Field(description="of a query set")
    thresholds: tuple[ThresholdEvaluation, ...] = Field(description="of a query set")
    unknown: UnknownEvaluation | None = Field(description="where unknown images were counted")
    timings_ms: Mapping[str, float]
