"""What the use cases hand to the tables: values that are not stored yet."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A task to store; see `orm.Task`."""

    id: UUID
    name: str | None
    base_model: str | None
    learner: str | None
    prior: Any
    metadata: Mapping[str, str]
    store: str = "images"
    threshold: float | None = None
    keep_s: float | None = None


@dataclass(frozen=True, slots=True)
class TaskChange:
    """What to change of a task.

    Attributes:
        fields: new values by column; `keep_s`, seconds from now, stands for `expires_at`.
        metadata: the pairs that a task has after it, of those before; may refuse by raising.
    """

    fields: Mapping[str, Any]
    metadata: Callable[[Mapping[str, str]], Mapping[str, str]] | None = None


@dataclass(frozen=True, slots=True)
class ExampleRecord:
    """An example to store; see `orm.Example`.

    Attributes:
        is_left_out: whether adaptations leave its class out, if the class comes with it.
    """

    id: UUID
    label: str
    digest: str
    filename: str | None
    media_type: str
    size_bytes: int
    width_px: int
    height_px: int
    looks_drawn: bool
    source: str = "upload"
    group: str | None = None
    is_left_out: bool = False


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """An adaptation to store; its support set is what the task has in the same transaction.

    Attributes:
        report: what there is to say before it is adapted; what its adaptation says is added.
    """

    id: UUID
    learner: str
    base_model: str
    base_model_digest: str
    settings: Mapping[str, Any]
    serves_when_ready: bool = True
    report: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lease:
    """Who works on a version, and for how long nobody else may."""

    owner: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Claim:
    """A version that `owner` works on."""

    task_id: UUID
    version_id: UUID
    owner: str


@dataclass(frozen=True, slots=True)
class TaskRoom:
    """How much a task may hold."""

    n_examples: int
    n_classes: int


@dataclass(frozen=True, slots=True)
class ClassCount:
    """One class of a support set and its number of images."""

    label: str
    n_examples: int


@dataclass(frozen=True, slots=True)
class TaskSnapshot:
    """What a task is at the moment in which a version of it is planned.

    Attributes:
        classes: in the order of the head's rows, without those that are left out.
        looks_drawn: for each example in that order, what `imaging` said about it.
        store: what it keeps of its uploads.
        is_adapted: whether some version is ready.
        features_only: base models, by digest, whose features are all that is kept of some examples.
        left_out: labels of the classes that adaptations leave out.
    """

    base_model: str | None
    learner: str | None
    prior: Any
    classes: tuple[ClassCount, ...]
    looks_drawn: tuple[bool, ...]
    store: str = "images"
    is_adapted: bool = False
    features_only: frozenset[str] = frozenset()
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SupportRow:
    """One example of a version's support set.

    Attributes:
        digest: of the original bytes; None if they are not kept.
        label: its class, by the order of the head's rows.
        features: digest and row of its features under the version's base model, if they are stored.
        group: the client's name of the group that it belongs to.
    """

    example_id: UUID
    digest: str | None
    label: int
    features: tuple[str, int] | None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class FinishedAdaptation:
    """What an adaptation gave; `artifact` is the digest of the task parameters."""

    artifact: str
    n_bytes: int
    report: Mapping[str, Any]
    timings_ms: Mapping[str, float]
    features: "StoredFeatures | None"


@dataclass(frozen=True, slots=True)
class StoredFeatures:
    """Where an adaptation left the features of some examples: row i of the artifact belongs to `example_ids[i]`."""

    digest: str
    base_model_digest: str
    example_ids: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """A request with the idempotency key of its client.

    Attributes:
        target: method and path; a key means something else under another one.
        digest: SHA-256 of what is asked for; equal for a request that is sent again.
    """

    key: str
    target: str
    digest: str


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a keyed request: only the row's present owner may store something."""

    request_id: UUID
    owner: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client is told, as it travels; nothing here looks into it."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class BegunRun:
    """A run that began; `created` are the ids of what an earlier run stored before its process died, if it did."""

    run: Run
    created: tuple[str, ...] | None = None
