"""Tasks, their examples and their versions: everything a client does before it predicts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias
from uuid import UUID

from service.artifacts import ArtifactStore
from service.engine.base import Engine
from service.persistence.database import Database
from service.usecases.base_models import BaseModels
from service.usecases.decoding import Decoder
from service.usecases.serving import ServingVersions
from service.usecases.uploads import LabelledUpload
from service.usecases.views import ExampleView, Page, TaskState, TaskView, VersionView

Prior: TypeAlias = str | Mapping[str, float]
"""`balanced`, `support`, or a weight for each label."""


@dataclass(frozen=True, slots=True)
class NewTask:
    """What a client says about a task it creates; None where it says nothing."""

    name: str | None = None
    base_model: str | None = None
    learner: str | None = None
    prior: Prior = "balanced"
    metadata: Mapping[str, str] = field(default_factory=dict)
    uploads: Sequence[LabelledUpload] = ()


class Tasks:
    """The use cases of tasks; `start` and `stop` bound the work that goes on without a client."""

    def __init__(
        self,
        database: Database,
        engine: Engine,
        artifacts: ArtifactStore,
        base_models: BaseModels,
        decoder: Decoder,
        serving: ServingVersions,
    ) -> None:
        raise NotImplementedError

    async def start(self) -> None:
        """Finish what an earlier process left, keep leases alive, sweep artifacts; needs a started engine."""

    async def stop(self, *, grace_s: float = 10.0) -> None:
        """Give running adaptations grace_s to end; hand the others back to the queue."""

    async def create(self, new: NewTask, *, wait_s: float) -> tuple[TaskView, bool]:
        """Store a task with its examples and adapt it; False where it is not finished within wait_s.

        Raises:
            EngineBusy: nothing was stored; try again later.
            UploadRejected, InvalidSupportSet, UnknownBaseModel, UnknownLearner, InvalidOption, InvalidRequest,
            RequestTooLarge, StorageFull: nothing was stored.
        """
        raise NotImplementedError

    async def create_empty(self, new: NewTask) -> TaskView:
        """Store a task without examples."""
        raise NotImplementedError

    async def get(self, task_id: UUID) -> TaskView:
        """One task.

        Raises:
            TaskNotFound: there is none.
        """
        raise NotImplementedError

    async def list(
        self,
        *,
        limit: int,
        cursor: str | None = None,
        state: TaskState | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Page[TaskView]:
        """Tasks, newest first, that are in the state and have all of the metadata.

        Raises:
            MalformedRequest: the cursor is none of ours.
        """
        raise NotImplementedError

    async def delete(self, task_id: UUID) -> None:
        """Remove a task with all it has."""
        raise NotImplementedError

    async def add_examples(self, task_id: UUID, uploads: Sequence[LabelledUpload]) -> tuple[ExampleView, ...]:
        """Store examples, all or none; they count from the next adaptation."""
        raise NotImplementedError

    async def examples(self, task_id: UUID, *, limit: int, cursor: str | None = None) -> Page[ExampleView]:
        """The examples of a task, oldest first."""
        raise NotImplementedError

    async def example_bytes(self, task_id: UUID, example_id: UUID) -> tuple[bytes, str]:
        """The original bytes of an example and their media type."""
        raise NotImplementedError

    async def delete_example(self, task_id: UUID, example_id: UUID) -> None:
        """Remove an example; versions that were adapted on it stay as they are."""
        raise NotImplementedError

    async def adapt(
        self,
        task_id: UUID,
        *,
        wait_s: float,
        learner: str | None = None,
        steps: int | None = None,
        lr: float | None = None,
    ) -> tuple[VersionView, bool]:
        """Adapt a task to its present examples as a new version; False where it is not finished within wait_s.

        Raises:
            EngineBusy: nothing was stored; try again later.
            InvalidSupportSet: the examples have fewer than two classes.
            UnknownLearner, InvalidOption: the base model does not offer this.
            BaseModelGone: the task's base model is not loaded any more.
        """
        raise NotImplementedError

    async def versions(self, task_id: UUID, *, limit: int, cursor: str | None = None) -> Page[VersionView]:
        """The versions of a task, newest first."""
        raise NotImplementedError

    async def version(self, task_id: UUID, number: int) -> VersionView:
        """One version of a task.

        Raises:
            VersionNotFound: the task has none with this number.
        """
        raise NotImplementedError
