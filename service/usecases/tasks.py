"""Tasks, their examples and their versions: everything a client does before it predicts."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from uuid import UUID

from service.artifacts import ArtifactStore
from service.engine.base import Engine
from service.errors import InvalidRequest, OriginalNotKept, TaskNotFound, Unavailable
from service.persistence.database import Database
from service.persistence.examples import ExampleRows
from service.persistence.orm import Version
from service.persistence.records import Lease, Run, TaskRoom, TaskSnapshot, VersionRecord
from service.persistence.tasks import TaskRows
from service.persistence.versions import VersionRows
from service.usecases.adaptations import LEASE_S, Adaptations, ended_within
from service.usecases.base_models import BaseModelCard, BaseModels
from service.usecases.decoding import Decoder
from service.usecases.intake import Intake
from service.usecases.new_tasks import NewTask, check_new_task, first_version, task_record
from service.usecases.plans import (
    Prior,
    Wish,
    candidates,
    cards_of,
    check_learner,
    planned_version,
)
from service.usecases.serving import ServingVersions
from service.usecases.supports import Supports
from service.usecases.sweeping import Sweeper
from service.usecases.texts import checked_metadata
from service.usecases.uploads import LabelledUpload
from service.usecases.viewing import example_view, task_view, version_view, view_of_new
from service.usecases.views import ExampleView, Page, TaskState, TaskView, VersionView

log = logging.getLogger(__name__)


class Tasks:
    """The use cases of tasks; `start` and `stop` bound the work that goes on without a client.

    Attributes:
        intake, adaptations: what other use cases take images in and adapt with.
    """

    def __init__(  # noqa: PLR0913  # flat arguments: each is one part of the house
        self,
        database: Database,
        engine: Engine,
        artifacts: ArtifactStore,
        base_models: BaseModels,
        decoder: Decoder,
        serving: ServingVersions,
        *,
        lease_s: float = LEASE_S,
    ) -> None:
        self._engine = engine
        self._artifacts = artifacts
        self._base_models = base_models
        self._limits = decoder.limits
        self._serving = serving
        self._task_rows = TaskRows(database)
        self._example_rows = ExampleRows(database)
        self._version_rows = VersionRows(database)
        self.intake = Intake(artifacts, decoder)
        supports = Supports(database, artifacts, base_models, decoder)
        self.adaptations = Adaptations(
            database, engine, supports, serving, lease_s=lease_s, pixels_bytes=decoder.limits.decoded_bytes
        )
        self._sweeper = Sweeper(database, artifacts, serving)

    async def start(self) -> None:
        """Finish what an earlier process left, keep leases alive, sweep artifacts; comes before the engine."""
        await self.adaptations.start()
        await self._sweeper.start()

    async def stop(self, *, grace_s: float = 10.0) -> None:
        """Give running adaptations grace_s to end; hand the others back to the queue."""
        await self.adaptations.stop(grace_s)
        await self._sweeper.stop()

    async def create(self, new: NewTask, *, wait_s: float, run: Run | None = None) -> tuple[TaskView, bool]:
        """Store a task with its examples and adapt it; False where it is not finished within wait_s.

        `run` is the keyed request that asks for it, if it has a key: here and below, see `retries.py`.

        Raises:
            EngineBusy: nothing was stored; try again later.
            UploadRejected, InvalidSupportSet, UnknownBaseModel, UnknownLearner, InvalidOption, InvalidRequest,
            RequestTooLarge, StorageFull: nothing was stored.
        """
        cards = candidates(new.base_model, self._base_models)
        check_new_task(new, cards, intake=self.intake, limits=self._limits)
        stored, running = await self._begin(new, cards, run)
        is_over = await ended_within(running, wait_s)
        try:
            return await self.get(stored.id), is_over
        except (Unavailable, TaskNotFound) as error:  # it was stored all the same, and the client must know by which id
            log.warning("task %s is told as it was stored: %s", stored.id, error.message)
            return stored, False

    async def create_empty(self, new: NewTask, *, run: Run | None = None) -> TaskView:
        """Store a task without examples.

        Raises:
            UnknownBaseModel, UnknownLearner, InvalidOption, InvalidRequest: nothing was stored.
        """
        if new.base_model is not None or new.learner is not None:
            check_learner(new.learner, candidates(new.base_model, self._base_models))
        task = task_record(new, None, limits=self._limits)
        return task_view(await self._task_rows.create_empty(task, run))

    async def get(self, task_id: UUID) -> TaskView:
        """One task.

        Raises:
            TaskNotFound: there is none.
        """
        return task_view(await self._task_rows.get(task_id))

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
        pairs = checked_metadata(metadata or {}, self._limits)
        tasks, after = await self._task_rows.page(limit=limit, cursor=cursor, state=state, metadata=pairs)
        return Page(tuple(map(task_view, tasks)), after)

    async def delete(self, task_id: UUID) -> None:
        """Remove a task with all it has."""
        await self._task_rows.delete(task_id)
        self._serving.drop(task_id)

    async def add_examples(
        self, task_id: UUID, uploads: Sequence[LabelledUpload], *, run: Run | None = None
    ) -> tuple[ExampleView, ...]:
        """Store examples, all or none; they count from the next adaptation.

        Raises:
            TaskNotFound: there is no such task.
            ExamplesNotKept: the task keeps nothing of its examples.
            EngineBusy: nothing was stored; try again later.
            UploadRejected, InvalidSupportSet, InvalidRequest, RequestTooLarge, StorageFull: nothing was stored.
        """
        if not uploads:
            raise InvalidRequest("there is no image to add; send at least one")
        task = await self._task_rows.get(task_id)
        examples = await self.intake.take_in(uploads, cards_of(task.row.base_model, self._base_models))
        stored = await self._example_rows.add(task_id, examples, self._room, run)
        return tuple(example_view(row, label) for row, label in stored)

    async def stored_examples(self, task_id: UUID, example_ids: Sequence[UUID]) -> tuple[ExampleView, ...]:
        """Those of the examples that the task still has, oldest first."""
        return tuple(example_view(row, label) for row, label in await self._example_rows.some(task_id, example_ids))

    async def examples(self, task_id: UUID, *, limit: int, cursor: str | None = None) -> Page[ExampleView]:
        """The examples of a task, oldest first."""
        rows, after = await self._example_rows.page(task_id, limit=limit, cursor=cursor)
        return Page(tuple(example_view(row, label) for row, label in rows), after)

    async def example_bytes(self, task_id: UUID, example_id: UUID) -> tuple[bytes, str]:
        """The original bytes of an example and their media type.

        Raises:
            ExampleNotFound: the task has none with this id.
            OriginalNotKept: there are none any more.
        """
        row = await self._example_rows.get(task_id, example_id)
        if row.digest is None:
            raise OriginalNotKept(f"the original of example {example_id} is not kept: the task stores features only")
        return await asyncio.to_thread(self._artifacts.get, row.digest), row.media_type

    async def delete_example(self, task_id: UUID, example_id: UUID) -> None:
        """Remove an example; versions that were adapted on it stay as they are."""
        await self._example_rows.delete(task_id, example_id)

    async def adapt(  # noqa: PLR0913  # each is an option of the call
        self,
        task_id: UUID,
        *,
        wait_s: float,
        learner: str | None = None,
        steps: int | None = None,
        lr: float | None = None,
        prior: Prior | None = None,
        activate: bool = True,
        run: Run | None = None,
    ) -> tuple[VersionView, bool]:
        """Adapt a task to its present examples as a new version; False where it is not finished within wait_s.

        Without `activate` the version that serves goes on, if one does.

        Raises:
            EngineBusy: nothing was stored; try again later.
            InvalidSupportSet: the examples have fewer than two classes.
            UnknownLearner, InvalidOption: the base model does not offer this.
            BaseModelGone: the task's base model is not loaded any more.
            ExamplesNotKept: the task does not keep what this needs.
        """
        wish = Wish(learner, steps, lr, prior, activate)
        views: list[VersionView] = []

        def plan(task: TaskSnapshot) -> VersionRecord:
            return planned_version(task, wish, self._base_models, self._limits)

        async def store(lease: Lease) -> Version:
            version = await self._version_rows.create(task_id, plan, lease, run)
            views.append(version_view(version))
            return version

        with ExitStack() as stack:
            stack.enter_context(self._engine.reserve())
            running = await self.adaptations.begin(stack.pop_all(), store)
        is_over = await ended_within(running, wait_s)
        try:
            return await self.version(task_id, views[0].number), is_over
        except Unavailable as error:  # as in `create`
            log.warning("version %d of task %s is told as it was stored: %s", views[0].number, task_id, error.message)
            return views[0], False

    async def versions(self, task_id: UUID, *, limit: int, cursor: str | None = None) -> Page[VersionView]:
        """The versions of a task, newest first."""
        rows, after = await self._version_rows.page(task_id, limit=limit, cursor=cursor)
        return Page(tuple(map(version_view, rows)), after)

    async def version(self, task_id: UUID, number: int) -> VersionView:
        """One version of a task.

        Raises:
            VersionNotFound: the task has none with this number.
        """
        return version_view(await self._version_rows.get(task_id, number))

    async def _begin(
        self, new: NewTask, cards: Sequence[BaseModelCard], run: Run | None
    ) -> tuple[TaskView, asyncio.Task[bool]]:
        """Store a task and begin to adapt it; the decoded images go with this call, not with the client's wait."""
        views: list[TaskView] = []

        async def store(lease: Lease) -> Version:
            first = await self._task_rows.create(task, examples, version, lease=lease, room=self._room, run=run)
            views.append(view_of_new(task, decoded.classes, first, left_out=decoded.left_out))
            return first

        with ExitStack() as stack:
            stack.enter_context(self._engine.reserve())
            async with self.intake.room(new.uploads, cards):
                decoded = await self.intake.decode(new.uploads, cards)
                version = first_version(new, decoded, base_models=self._base_models, limits=self._limits)
                task = task_record(new, version, limits=self._limits)
                examples = await self.intake.store(decoded)
                support = decoded.support(version.base_model, examples)
                running = await self.adaptations.begin(stack.pop_all(), store, support)
        return views[0], running

    @property
    def _room(self) -> TaskRoom:
        return TaskRoom(self._limits.support_images, self._limits.max_classes)
