"""Feedback: images whose prediction was wrong, or right, become examples with the label that is right.

Why the image and not the id of a prediction: predictions are not stored, so that what a client sends to be labelled
stays nowhere. Whoever has feedback to give has the image.
"""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from uuid import UUID

from service.engine.base import Engine
from service.errors import InvalidRequest, Unavailable
from service.persistence.database import Database
from service.persistence.examples import ExampleRows
from service.persistence.feedback import FeedbackRows
from service.persistence.orm import Example, Version
from service.persistence.records import ExampleRecord, Lease, Run, TaskRoom, TaskSnapshot, VersionRecord
from service.persistence.tasks import TaskRows
from service.usecases.adaptations import Adaptations, ended_within
from service.usecases.base_models import BaseModels
from service.usecases.intake import Intake
from service.usecases.limits import Limits
from service.usecases.plans import Wish, cards_of, planned_version
from service.usecases.uploads import LabelledUpload
from service.usecases.viewing import example_view
from service.usecases.views import FeedbackView

log = logging.getLogger(__name__)


class Feedback:
    """The use case of a task that was told how an image is rightly labelled."""

    def __init__(
        self,
        database: Database,
        engine: Engine,
        base_models: BaseModels,
        limits: Limits,
        *,
        intake: Intake,
        adaptations: Adaptations,
    ) -> None:
        self._tasks = TaskRows(database)
        self._examples = ExampleRows(database)
        self._rows = FeedbackRows(database)
        self._engine = engine
        self._base_models = base_models
        self._limits = limits
        self._intake = intake
        self._adaptations = adaptations

    async def give(
        self, task_id: UUID, uploads: Sequence[LabelledUpload], *, adapt: bool, wait_s: float, run: Run | None = None
    ) -> tuple[FeedbackView, bool]:
        """Store images as examples that came from feedback, all or none; False where the adaptation goes on.

        Args:
            task_id: which task.
            uploads: the images with their right labels.
            adapt: whether to adapt the task to them; then the images and the version are stored together, or neither.
            wait_s: how long to wait for the adaptation.
            run: the keyed request that asks for it, if it has a key.

        Raises:
            TaskNotFound: there is no such task.
            EngineBusy: nothing was stored; try again later.
            ExamplesNotKept, UploadRejected, InvalidSupportSet, InvalidRequest, RequestTooLarge, BaseModelGone,
            StorageFull: nothing was stored.
        """
        if not uploads:
            raise InvalidRequest("there is no image to learn from; send at least one")
        if not adapt:
            examples = await self._taken_in(task_id, uploads)
            return _view(await self._examples.add(task_id, examples, self._room, run)), True
        given, is_over = await self._adapt(task_id, uploads, wait_s, run)
        try:
            return await self.stored(task_id, [each.id for each in given.items], given.version), is_over
        except Unavailable as error:  # it is stored all the same, and the client must know by which ids
            log.warning("feedback of task %s is told as it was stored: %s", task_id, error.message)
            return given, False

    async def stored(self, task_id: UUID, example_ids: Sequence[UUID], number: int | None = None) -> FeedbackView:
        """Those of the examples that the task still has, and the number of the version that was made with them."""
        return _view(await self._examples.some(task_id, example_ids), number)

    async def _adapt(
        self, task_id: UUID, uploads: Sequence[LabelledUpload], wait_s: float, run: Run | None
    ) -> tuple[FeedbackView, bool]:
        views: list[FeedbackView] = []

        def plan(task: TaskSnapshot) -> VersionRecord:
            return planned_version(task, Wish(), self._base_models, self._limits)

        async def store(lease: Lease) -> Version:
            version, rows = await self._rows.add_and_plan(
                task_id, examples, plan, lease=lease, room=self._room, run=run
            )
            views.append(_view(rows, version.number))
            return version

        with ExitStack() as stack:
            stack.enter_context(self._engine.reserve())
            examples = await self._taken_in(task_id, uploads)
            running = await self._adaptations.begin(stack.pop_all(), store)
        return views[0], await ended_within(running, wait_s)

    async def _taken_in(self, task_id: UUID, uploads: Sequence[LabelledUpload]) -> list[ExampleRecord]:
        task = await self._tasks.get(task_id)
        records = await self._intake.take_in(uploads, cards_of(task.row.base_model, self._base_models))
        return [replace(record, source="feedback") for record in records]

    @property
    def _room(self) -> TaskRoom:
        return TaskRoom(self._limits.support_images, self._limits.max_classes)


def _view(rows: Sequence[tuple[Example, str]], number: int | None = None) -> FeedbackView:
    return FeedbackView(tuple(example_view(row, label) for row, label in rows), number)
