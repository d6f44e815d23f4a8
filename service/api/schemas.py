"""The bodies of the public contract as pydantic models: what is taken, checked; what is answered, documented."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag

from service.usecases.tasks import NewTask
from service.usecases.uploads import LabelledUpload

MAX_WAIT_S = 60.0
DEFAULT_WAIT_S = 10.0
MAX_METADATA_PAIRS = 50

Item = TypeVar("Item")


Text = Annotated[str, Field(min_length=1, max_length=200)]
ProblemType = Annotated[str, AfterValidator(lambda name: name if name.startswith("/") else f"/problems/{name}")]
Weight = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False, strict=True)]
Wait = Annotated[float, Field(ge=0, le=MAX_WAIT_S, allow_inf_nan=False, description="seconds to wait for the result")]


def _kind_of_prior(value: object) -> str:
    return "weights" if isinstance(value, Mapping) else "name"


Prior = Annotated[
    Annotated[Literal["balanced", "support"], Tag("name")] | Annotated[dict[Text, Weight], Tag("weights")],
    Discriminator(_kind_of_prior),
]


class _Taken(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Answered(BaseModel):
    model_config = ConfigDict(from_attributes=True, frozen=True)


class EmptyTaskBody(_Taken):
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

    def new_task(self, uploads: Sequence[LabelledUpload] = ()) -> NewTask:
        """The task in the words of the use cases."""
        return NewTask(self.name, self.base_model, self.learner, self.prior, self.metadata, uploads)


class NewTaskFields(EmptyTaskBody):
    """The fields of a form that creates a task, beside its images."""

    wait: Wait = DEFAULT_WAIT_S


class AdaptBody(_Taken):
    """How to adapt; what is left out is as the task or the base model has it."""

    learner: Text | None = Field(None, description="one that the base model offers")
    steps: int | None = Field(
        None, ge=0, le=100, strict=True, description="gradient steps, for learners that take some"
    )
    lr: float | None = Field(
        None, gt=0, le=10, allow_inf_nan=False, strict=True, description="step size, for learners that have one"
    )
    wait: Annotated[Wait, Field(strict=True)] = DEFAULT_WAIT_S


class Page(_Answered, Generic[Item]):
    """Some items of a list; `next_cursor` continues it and is null at its end."""

    items: tuple[Item, ...]
    next_cursor: str | None


class TaskClass(_Answered):
    """One class of a task."""

    label: str
    n_examples: int


class Task(_Answered):
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
    created_at: datetime
    updated_at: datetime


class Example(_Answered):
    """One stored support image."""

    id: UUID
    label: str
    filename: str | None
    media_type: str
    size_bytes: int
    width_px: int
    height_px: int
    created_at: datetime


class StoredExamples(_Answered):
    """The examples that a request stored, in its order."""

    items: tuple[Example, ...]


class VersionProblem(_Answered):
    """Why a version failed; `type` is that of a problem document."""

    type: ProblemType
    title: str
    detail: str


class Version(_Answered):
    """One adaptation of a task; it never changes once it is ready."""

    number: int
    state: Literal["queued", "adapting", "ready", "failed"]
    learner: str
    base_model: str
    base_model_digest: str
    settings: Mapping[str, Any]
    report: Mapping[str, Any]
    timings_ms: Mapping[str, float]
    error: VersionProblem | None
    created_at: datetime


class Score(_Answered):
    """The probability of one class."""

    label: str
    probability: float


class NearestExample(_Answered):
    """An example that the version was adapted on; `similarity` is the cosine of its features and the image's."""

    example_id: UUID
    label: str
    similarity: float


class ImagePrediction(_Answered):
    """The answer for one image; scores by falling probability."""

    filename: str | None
    label: str
    probability: float
    scores: tuple[Score, ...]
    nearest: tuple[NearestExample, ...] | None = Field(None, description="best first; only where it was asked for")


class Prediction(_Answered):
    """The answers for the images of a request, in its order."""

    task_id: UUID
    version: int
    predictions: tuple[ImagePrediction, ...]
    timings_ms: Mapping[str, float]


class BaseModelInput(_Answered):
    """The array that a base model takes; your images are brought to it whatever their size."""

    side_px: int
    channels: int
    fit: str
    resampling: str


class LearnerOffer(_Answered):
    """A learner of a base model with its settings."""

    name: str
    adapts: Literal["head", "network"]
    settings: Mapping[str, Any]


class Figure(_Answered):
    """One measured accuracy in percent, with the half width of its 95 % interval in points."""

    dataset: str
    learner: str
    n_way: int
    n_shot: int
    accuracy: float
    interval_95: float
    episodes: int
    inductive: bool


class BaseModelCard(_Answered):
    """A meta-trained network that tasks are adapted from."""

    id: str
    digest: str
    purpose: str
    suits: Literal["drawings", "photographs"]
    backbone: str
    n_features: int
    input: BaseModelInput
    default_learner: str
    learners: tuple[LearnerOffer, ...]
    figures: tuple[Figure, ...]
    provenance: Mapping[str, Any]


class BaseModelList(_Answered):
    """The base models that new tasks can use."""

    items: tuple[BaseModelCard, ...]
    next_cursor: None = None


class LimitsAnswer(_Answered):
    """How much one request may ask for; bytes, pixels and counts."""

    file_bytes: int
    request_bytes: int
    image_pixels: int
    min_classes: int
    max_classes: int
    support_images: int
    prediction_images: int
    metadata_pairs: int
    label_chars: int
    wait_s: float = MAX_WAIT_S
    deadline_s: float


class Health(_Answered):
    """How the service is, in one word."""

    status: Literal["live", "ready"]


class BadField(_Answered):
    """What is wrong with one item of a request."""

    pointer: str = Field(description="where it stands: `/files/3`, `/query/limit`, `/archive/owl/3.png`")
    code: str
    detail: str
    filename: str | None


class Problem(_Answered):
    """An RFC 9457 problem document; `type` is stable, `detail` is for people."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    errors: tuple[BadField, ...] = Field(default=(), description="what is wrong with each item of an upload")


class ProblemMeaning(_Answered):
    """What a problem type stands for."""

    type: str
    title: str
    status: int
