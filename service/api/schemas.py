"""The bodies of the public contract as pydantic models: what is taken, checked; what is answered, documented."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag

from service.usecases.life import MAX_KEEP_S
from service.usecases.new_tasks import NewTask
from service.usecases.uploads import LabelledUpload

MAX_WAIT_S = 60.0
DEFAULT_WAIT_S = 10.0
MAX_METADATA_PAIRS = 50

_STORE = (
    "what is kept of the uploads once the task is adapted: the images; their features, which suffice to adapt again; "
    "or nothing but the classifier"
)
_THRESHOLD = "answers whose top probability is below it are marked; the suggested one if left out"
_KEEP_S = "seconds until the task is removed with all it has; for good if left out"

Item = TypeVar("Item")


Text = Annotated[str, Field(min_length=1, max_length=200)]
ProblemType = Annotated[str, AfterValidator(lambda name: name if name.startswith("/") else f"/problems/{name}")]
Weight = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False, strict=True)]
Store = Literal["images", "features", "nothing"]
Threshold = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
KeepS = Annotated[float, Field(ge=1, le=MAX_KEEP_S, allow_inf_nan=False)]
Wait = Annotated[float, Field(ge=0, le=MAX_WAIT_S, allow_inf_nan=False, description="seconds to wait for the result")]


def _kind_of_prior(value: object) -> str:
    return "weights" if isinstance(value, Mapping) else "name"


Prior = Annotated[
    Annotated[Literal["balanced", "support"], Tag("name")] | Annotated[dict[Text, Weight], Tag("weights")],
    Discriminator(_kind_of_prior),
]


class Taken(BaseModel):
    """A body that is taken: a field that it does not have is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Answered(BaseModel):
    """A body that is answered, made from a view of the use cases."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


class EmptyTaskBody(Taken):
    """A task that gets its examples later."""

    name: Text | None = Field(None, description="for people; need not be unique")
    base_model: Text | None = Field(None, description="id of a base model; chosen by the images if left out")
    learner: Text | None = Field(None, description="one that the base model offers; its default if left out")
    prior: Prior = Field(
        "balanced", description="how often each class is expected: equally, as in the examples, or a weight a label"
    )
    metadata: dict[str, str] = Field(
        default_factory=dict,
        max_length=MAX_METADATA_PAIRS,
        description="pairs of your own; lists can be filtered by them",
    )
    store: Store = Field("images", description=_STORE)
    threshold: Annotated[Threshold, Field(strict=True)] | None = Field(None, description=_THRESHOLD)
    keep_s: Annotated[KeepS, Field(strict=True)] | None = Field(None, description=_KEEP_S)

    def new_task(self, uploads: Sequence[LabelledUpload] = ()) -> NewTask:
        """The task in the words of the use cases."""
        return NewTask(
            name=self.name,
            base_model=self.base_model,
            learner=self.learner,
            prior=self.prior,
            metadata=self.metadata,
            uploads=uploads,
            store=self.store,
            threshold=self.threshold,
            keep_s=self.keep_s,
        )


class NewTaskFields(EmptyTaskBody):
    """The fields of a form that creates a task, beside its images."""

    threshold: Threshold | None = Field(None, description=_THRESHOLD)
    keep_s: KeepS | None = Field(None, description=_KEEP_S)

    wait: Wait = DEFAULT_WAIT_S


class AdaptBody(Taken):
    """How to adapt; what is left out is as the task or the base model has it."""

    learner: Text | None = Field(None, description="one that the base model offers")
    steps: int | None = Field(
        None, ge=0, le=100, strict=True, description="gradient steps, for learners that take some"
    )
    lr: float | None = Field(
        None, gt=0, le=10, allow_inf_nan=False, strict=True, description="step size, for learners that have one"
    )
    prior: Prior | None = Field(
        None, description="of this version: `balanced`, `support`, or a weight a label; as the task has it if left out"
    )
    activate: bool = Field(
        True,
        strict=True,
        description="whether the version answers once it is ready; else, where another answers, when it is activated",
    )
    wait: Annotated[Wait, Field(strict=True)] = DEFAULT_WAIT_S


class Page(Answered, Generic[Item]):
    """Some items of a list; `next_cursor` continues it and is null at its end."""

    items: tuple[Item, ...]
    next_cursor: str | None


class TaskClass(Answered):
    """One class of a task."""

    label: str
    n_examples: int
    is_left_out: bool = Field(description="whether adaptations leave it out")


class Task(Answered):
    """A classification problem of yours: named classes, examples, versions."""

    id: UUID
    name: str | None
    state: Literal["empty", "queued", "adapting", "ready", "failed"]
    base_model: str | None
    learner: str | None
    classes: tuple[TaskClass, ...]
    n_examples: int
    current_version: int | None = Field(description="the version that answers predictions")
    pending_version: int | None = Field(description="the version that is queued or being adapted")
    metadata: Mapping[str, str]
    threshold: float | None = Field(description="as it was set; null is the one that the version suggests, if it does")
    store: Store = Field(description="what is kept of the uploads once the task is adapted")
    expires_at: datetime | None = Field(description="when the task is removed; null is never")
    created_at: datetime
    updated_at: datetime


class Example(Answered):
    """One stored support image."""

    id: UUID
    label: str
    filename: str | None
    media_type: str
    size_bytes: int
    width_px: int
    height_px: int
    source: Literal["upload", "feedback"] = Field(description="how it came")
    has_original: bool = Field(description="whether the original image is kept and can be had")
    group: str | None = Field(description="your name for what it belongs to: a burst, a slide, a part")
    created_at: datetime


class StoredExamples(Answered):
    """The examples that a request stored, in its order."""

    items: tuple[Example, ...]


class VersionProblem(Answered):
    """Why a version failed; `type` is that of a problem document."""

    type: ProblemType
    title: str
    detail: str


class Version(Answered):
    """One adaptation of a task; it never changes once it is ready."""

    number: int
    state: Literal["queued", "adapting", "ready", "failed"]
    learner: str
    base_model: str
    base_model_digest: str
    settings: Mapping[str, Any]
    report: Mapping[str, Any]
    timings_ms: Mapping[str, float]
    progress: float | None = Field(description="share that is done, 0 to 1, while it is adapting and that can be said")
    error: VersionProblem | None
    created_at: datetime


class Progress(Answered):
    """A version that is not finished yet."""

    number: int
    state: Literal["queued", "adapting"]
    place: int | None = Field(description="how many unfinished versions were there before it; null once it has begun")
    progress: float | None = Field(description="share that is done, 0 to 1, where it can be said")


class Score(Answered):
    """The probability of one class."""

    label: str
    probability: float


class NearestExample(Answered):
    """An example that the version was adapted on; `similarity` is the cosine of its features and the image's."""

    example_id: UUID
    label: str
    similarity: float


class ImagePrediction(Answered):
    """The answer for one image; scores by falling probability."""

    filename: str | None
    label: str
    probability: float
    scores: tuple[Score, ...]
    below_threshold: bool = Field(
        description="the probability is below the task's threshold, or else the one that its version suggests"
    )
    unknown: float | None = Field(
        None, description="0 to 1: how likely the image is of none of the classes; absent where it cannot be said"
    )
    is_unknown: bool = Field(description="`unknown` is at least the threshold that the version suggests")
    nearest: tuple[NearestExample, ...] | None = Field(None, description="best first; only where it was asked for")


class Prediction(Answered):
    """The answers for the images of a request, in its order."""

    task_id: UUID
    version: int
    predictions: tuple[ImagePrediction, ...]
    timings_ms: Mapping[str, float]
