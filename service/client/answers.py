"""What the service answers, as values: tasks, versions, examples, predictions, base models, limits.

Fields that this release does not know are ignored, so an older client reads a newer service.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Protocol, TypeVar

from service.errors import ServiceError

Json = dict[str, Any]


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]


_Answer = TypeVar("_Answer", bound=_Dataclass)


@dataclass(frozen=True, slots=True)
class TaskClass:
    """One class of a task; adaptations leave it out where it says so."""

    label: str
    n_examples: int
    is_left_out: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """One classification problem.

    Attributes:
        state: `empty`, `queued`, `adapting`, `ready` or `failed`.
        current_version: the number of the version that answers, None before there is one.
        pending_version: the number of the version that is queued or being adapted, if there is one.
        threshold: as it was set; None is the suggested one.
        store: what is kept of the uploads: `images`, `features` or `nothing`.
        expires_at: when the task is removed, if ever.
    """

    id: str
    state: str
    name: str | None = None
    base_model: str | None = None
    learner: str | None = None
    classes: tuple[TaskClass, ...] = ()
    n_examples: int = 0
    current_version: int | None = None
    pending_version: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    threshold: float | None = None
    store: str = "images"
    expires_at: datetime | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a version failed: the problem type and one sentence."""

    type: str
    detail: str


@dataclass(frozen=True, slots=True)
class Version:
    """One adaptation of a task.

    Attributes:
        state: `queued`, `adapting`, `ready` or `failed`.
        progress: share that is done, 0 to 1, while it is adapting and that can be said.
        error: what went wrong, where it failed.
    """

    number: int
    state: str
    learner: str | None = None
    base_model: str | None = None
    base_model_digest: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    progress: float | None = None
    error: Problem | None = None
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """One stored support image with its class.

    Attributes:
        source: `upload` or `feedback`.
        has_original: whether the original image is kept.
        group: your name for what it belongs to.
    """

    id: str
    label: str
    filename: str | None = None
    media_type: str | None = None
    size_bytes: int | None = None
    width_px: int | None = None
    height_px: int | None = None
    source: str = "upload"
    has_original: bool = True
    group: str | None = None
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An image that is worth a label.

    Attributes:
        index: its place among the images that were sent.
        reason: `typical` or `uncertain`; `detail` says it in a sentence.
        n_alike: how many of the images are like it, itself included.
    """

    index: int
    reason: str
    detail: str = ""
    n_alike: int = 0


@dataclass(frozen=True, slots=True)
class Score:
    """The probability of one class."""

    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class NearestExample:
    """An example that the version was adapted on; `similarity` is the cosine of its features and the image's."""

    example_id: str
    label: str
    similarity: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one image.

    Attributes:
        scores: the most probable class first; all of them, or the `top_k` that were asked for.
        below_threshold: whether the probability is below the task's threshold, or else the suggested one.
        unknown: 0 to 1, how likely the image is of none of the classes; None where it cannot be said.
        is_unknown: whether that is at least the threshold that the version suggests.
        nearest: the most similar examples first, as many as were asked for.
        version: the number of the version that answered.
    """

    label: str
    probability: float
    scores: tuple[Score, ...] = ()
    filename: str | None = None
    version: int | None = None
    below_threshold: bool = False
    unknown: float | None = None
    is_unknown: bool = False
    nearest: tuple[NearestExample, ...] = ()


@dataclass(frozen=True, slots=True)
class LearnerOffer:
    """A learner of a base model with its settings; `adapts` is `head` or `network`."""

    name: str
    adapts: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BaseModelCard:
    """What a base model says about itself; input, figures and provenance as the service sends them."""

    id: str
    digest: str | None = None
    purpose: str = ""
    suits: str = ""
    learners: tuple[LearnerOffer, ...] = ()
    default_learner: str | None = None
    backbone: str | None = None
    n_features: int | None = None
    input: Mapping[str, Any] = field(default_factory=dict)
    figures: tuple[Mapping[str, Any], ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the service accepts; the defaults are those of a service that nobody configured."""

    file_bytes: int = 32 * 2**20
    request_bytes: int = 256 * 2**20
    image_pixels: int = 100_000_000
    min_classes: int = 2
    max_classes: int = 100
    support_images: int = 1_000
    prediction_images: int = 64


def task_from_json(raw: Json) -> Task:
    """The task of an answer."""
    classes = tuple(parse(TaskClass, item) for item in raw.get("classes", ()))
    return parse(Task, raw | {"classes": classes} | _times(raw))


def version_from_json(raw: Json) -> Version:
    """The version of an answer."""
    error = raw.get("error")
    return parse(Version, raw | {"error": error and parse(Problem, error)} | _times(raw))


def example_from_json(raw: Json) -> Example:
    """The stored example of an answer."""
    return parse(Example, raw | _times(raw))


def prediction_from_json(raw: Json, *, version: int | None, filename: str | None) -> Prediction:
    """The prediction of an answer, for the image that the client knows by this name."""
    scores = tuple(parse(Score, score) for score in raw.get("scores", ()))
    nearest = tuple(parse(NearestExample, item) for item in raw.get("nearest") or ())
    known = {"scores": scores, "nearest": nearest, "version": version, "filename": filename}
    return parse(Prediction, raw | known)


def base_model_from_json(raw: Json) -> BaseModelCard:
    """The card of an answer."""
    learners = tuple(parse(LearnerOffer, offer) for offer in raw.get("learners", ()))
    return parse(BaseModelCard, raw | {"learners": learners, "figures": tuple(raw.get("figures", ()))})


def parse(cls: type[_Answer], raw: Json) -> _Answer:
    """The dataclass of an answer's known fields.

    Raises:
        ServiceError: a field that cannot be missing is missing.
    """
    known = {item.name for item in dataclasses.fields(cls)}
    try:
        return cls(**{name: value for name, value in raw.items() if name in known})
    except TypeError as error:
        raise ServiceError(f"the answer is not a {cls.__name__} as this client knows it: {error}") from error


def _times(raw: Json) -> dict[str, datetime]:
    return {
        name: datetime.fromisoformat(raw[name]) for name in ("created_at", "updated_at", "expires_at") if raw.get(name)
    }
