"""What the use cases answer: frozen views with the fields of the public contract.

Why apart from the tables and from pydantic: the tables may change without the contract, and a view can be read
after its transaction is closed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Literal, TypeAlias, TypeVar
from uuid import UUID

TaskState: TypeAlias = Literal["empty", "queued", "adapting", "ready", "failed"]
Store: TypeAlias = Literal["images", "features", "nothing"]
Source: TypeAlias = Literal["upload", "feedback"]
VersionState: TypeAlias = Literal["queued", "adapting", "ready", "failed"]

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Some items of a list, and the cursor that continues it; None at its end."""

    items: tuple[Item, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class ClassView:
    """One class of a task, how many examples it has, and whether adaptations leave it out."""

    label: str
    n_examples: int
    is_left_out: bool = False


@dataclass(frozen=True, slots=True)
class TaskView:
    """One classification problem of a client.

    Attributes:
        state: `empty` without a version, `ready` if any version is ready, else that of the newest.
        base_model: id of the base model; None until the task is adapted for the first time.
        learner: what the task is adapted with unless a call says otherwise; None as long as `base_model` is.
        classes: in the order in which they were first seen.
        current_version: the version that serves: the newest that is ready, or the one activated since.
        pending_version: the highest number that is queued or adapting; None if none is.
        metadata: the client's own pairs.
        threshold: below this top probability an answer is marked; None leaves it to what the version suggests.
        store: what is kept of the uploads.
        expires_at: when the task is removed; None is never.
    """

    id: UUID
    name: str | None
    state: TaskState
    base_model: str | None
    learner: str | None
    classes: tuple[ClassView, ...]
    n_examples: int
    current_version: int | None
    pending_version: int | None
    metadata: Mapping[str, str]
    threshold: float | None
    store: Store
    expires_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ExampleView:
    """One stored support image.

    Attributes:
        width_px, height_px: those of the original, as it is displayed.
        source: how it came: with the client's examples, or as feedback on a prediction.
        has_original: whether the original bytes are kept.
        group: the client's name for what it belongs to.
    """

    id: UUID
    label: str
    filename: str | None
    media_type: str
    size_bytes: int
    width_px: int
    height_px: int
    source: Source
    has_original: bool
    group: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class FeedbackView:
    """The examples that feedback became, and the number of the version that is made with them, if one is."""

    items: tuple[ExampleView, ...]
    version: int | None


@dataclass(frozen=True, slots=True)
class VersionError:
    """Why a version failed: the problem type, its title, and one sentence."""

    type: str
    title: str
    detail: str


@dataclass(frozen=True, slots=True)
class VersionView:
    """One adaptation of a task.

    Attributes:
        number: counted from 1 within the task.
        settings: everything the learner was run with, its prior included.
        report: facts about the adaptation; empty until the version is ready.
        timings_ms: of the worker; empty until the version is ready.
        progress: share that is done, 0 to 1, while it is adapting and that can be said.
        error: the problem if the version failed.
    """

    number: int
    state: VersionState
    learner: str
    base_model: str
    base_model_digest: str
    settings: Mapping[str, Any]
    report: Mapping[str, Any]
    timings_ms: Mapping[str, float]
    progress: float | None
    error: VersionError | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class SuggestedImage:
    """An image of a pool that is worth a label.

    Attributes:
        index: its place in the request.
        reason: `typical` or `uncertain`; `detail` says it in a sentence.
        n_alike: how many images of the pool are like it, itself included.
    """

    index: int
    filename: str | None
    reason: Literal["typical", "uncertain"]
    detail: str
    n_alike: int


@dataclass(frozen=True, slots=True)
class SuggestionView:
    """The images of a pool to label next, the first first."""

    task_id: UUID
    suggestions: tuple[SuggestedImage, ...]


@dataclass(frozen=True, slots=True)
class ProgressView:
    """A version at one moment, and how many unfinished versions were there before it; None once it has begun."""

    version: VersionView
    place: int | None

    @property
    def number(self) -> int:
        """The number of the version."""
        return self.version.number

    @property
    def state(self) -> VersionState:
        """The state of the version."""
        return self.version.state

    @property
    def progress(self) -> float | None:
        """The share that is done, where it can be said."""
        return self.version.progress

    @property
    def is_over(self) -> bool:
        """Whether nothing will change any more."""
        return self.version.state in {"ready", "failed"}


@dataclass(frozen=True, slots=True)
class ScoreView:
    """The probability of one class."""

    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class NearestView:
    """An example of the version's support set, and the cosine of its features and the image's."""

    example_id: UUID
    label: str
    similarity: float


@dataclass(frozen=True, slots=True)
class ImagePrediction:
    """The answer for one image; `scores` are ordered by falling probability and cut at `top_k`.

    Attributes:
        below_threshold: whether the probability is below the task's threshold, or else the suggested one.
        unknown: how likely the image is of none of the classes; None where the version does not say.
        is_unknown: whether that is at least the suggested threshold.
        nearest: the most similar examples, best first; None where nobody asked.
    """

    filename: str | None
    label: str
    probability: float
    scores: tuple[ScoreView, ...]
    below_threshold: bool
    unknown: float | None = None
    is_unknown: bool = False
    nearest: tuple[NearestView, ...] | None = None


@dataclass(frozen=True, slots=True)
class PredictionView:
    """The answers for the images of one request, in its order, and the version that gave them.

    Attributes:
        timings_ms: `decode`, `engine` and `total`, in this process.
    """

    task_id: UUID
    version: int
    predictions: tuple[ImagePrediction, ...]
    timings_ms: Mapping[str, float]
