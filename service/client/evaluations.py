"""Evaluations: a labelled query set out, figures back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from service.client.answers import Json, parse
from service.client.connection import Connection
from service.client.uploads import LabelledImages, labelled_parts
from service.errors import InvalidRequest

UnknownLabels = Literal["refuse", "count"]


@dataclass(frozen=True, slots=True)
class ClassEvaluation:
    """The figures of one class; None where a figure would be 0 / 0, or is not in the report."""

    label: str
    support: int
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None


@dataclass(frozen=True, slots=True)
class ThresholdEvaluation:
    """What happens where answers of a probability below the threshold are withheld."""

    threshold: float
    coverage: float
    accuracy: float | None = None
    unknown_answered: float | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How good a version is.

    Attributes:
        basis: `query-set`; without one `leave-one-out` or `base-model`, from the version's report.
        confusion: rows are true classes, columns answers, in the order of `classes`.
        calibration: `error`, and the `bins` it comes from.
        unknown: `n_images`, `labels` and `auroc`, where images of other classes were counted.
    """

    accuracy: float
    interval_95: tuple[float, float]
    basis: str
    version: int
    n_images: int = 0
    balanced_accuracy: float | None = None
    classes: tuple[ClassEvaluation, ...] = ()
    confusion: tuple[tuple[int, ...], ...] | None = None
    calibration: Mapping[str, Any] | None = None
    thresholds: tuple[ThresholdEvaluation, ...] = ()
    unknown: Mapping[str, Any] | None = None
    timings_ms: Mapping[str, float] = field(default_factory=dict)


def evaluate(
    connection: Connection,
    path: str,
    queries: LabelledImages | None,
    *,
    version: int | None,
    unknown_labels: UnknownLabels,
) -> Evaluation:
    """The figures of a query set in one request, or without one those of the version's report.

    Raises:
        InvalidRequest: the query set has no image.
    """
    params = {} if version is None else {"version": version}
    if queries is None:
        return _evaluation_from_json(connection.send("POST", path, params=params).json())
    parts = labelled_parts(queries)
    if not parts.n_images:
        raise InvalidRequest("there are no images to evaluate on")
    data = {"labels": parts.labels, "unknown_labels": unknown_labels}
    answer = connection.send("POST", path, params=params, data=data, files=parts.files, wait_s=parts.n_images)
    return _evaluation_from_json(answer.json())


def _evaluation_from_json(raw: Json) -> Evaluation:
    confusion = raw.get("confusion")
    nested = {
        "interval_95": tuple(raw.get("interval_95", ())),
        "classes": tuple(parse(ClassEvaluation, item) for item in raw.get("classes", ())),
        "confusion": None if confusion is None else tuple(tuple(row) for row in confusion),
        "thresholds": tuple(parse(ThresholdEvaluation, item) for item in raw.get("thresholds", ())),
    }
    return parse(Evaluation, raw | nested)
