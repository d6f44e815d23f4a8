"""The statement of feedback that a task is adapted to at once: its examples and the version, or neither."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from service.persistence.database import Database
from service.persistence.examples import insert_examples, labelled_examples
from service.persistence.idempotency import note_created
from service.persistence.locks import lock_task_to_change
from service.persistence.orm import Example, Version
from service.persistence.present import present_support, snapshot
from service.persistence.records import ExampleRecord, Lease, Run, TaskRoom, TaskSnapshot, VersionRecord
from service.persistence.versions import insert_version


@dataclass(frozen=True, slots=True)
class FeedbackRows:
    """The feedback of a database."""

    database: Database

    async def add_and_plan(
        self,
        task_id: UUID,
        examples: Sequence[ExampleRecord],
        plan: Callable[[TaskSnapshot], VersionRecord],
        *,
        lease: Lease,
        room: TaskRoom,
        run: Run | None = None,
    ) -> tuple[Version, list[tuple[Example, str]]]:
        """Store examples, and a version of what the task is then; gives both, the examples with their labels.

        `plan` may refuse by raising.

        `run` is the keyed request that asks for it, if it has a key: it notes the version's number, then the examples.

        Raises:
            TaskNotFound: there is no such task.
            ExamplesNotKept, RequestTooLarge, InvalidSupportSet: the task takes no such examples.
        """
        async with self.database.write() as session:
            task = await lock_task_to_change(session, task_id)
            await insert_examples(session, task, examples, room)
            present = await present_support(session, task.id)
            record = plan(snapshot(task, present))
            task.base_model = task.base_model or record.base_model
            task.learner = task.learner or record.learner
            version = await insert_version(session, task, record, present, lease)
            ids = [example.id for example in examples]
            await note_created(session, run, version.number, *ids)
            return version, await labelled_examples(session, task_id, ids)
