"""Statements that change a task: its name, what it keeps, the version that serves; and its end.

What `store` means for the rows, from the transaction on in which a version becomes ready:

    images     everything stays
    features   examples whose features are stored forget the digest of their original
    nothing    examples go, classes stay with none; finished versions forget their support set

A digest that no row names is a file that the sweep removes.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from service.errors import VersionNotFound
from service.persistence.columns import database_time
from service.persistence.database import Database
from service.persistence.idempotency import note_created
from service.persistence.locks import lock_task_to_change
from service.persistence.orm import Example, Task, TaskClass, TaskMetadata, Version
from service.persistence.records import Run, TaskChange

FINISHED = ("ready", "failed")
_MOST_EXPIRED = 100
"""Tasks that one transaction of `expire` removes, so that it does not hold up others for long."""


class LifeRows:
    """The changes of the tasks of a database; each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def update(self, task_id: UUID, change: TaskChange) -> None:
        """Change a task.

        Raises:
            TaskNotFound: there is none.
        """
        fields = dict(change.fields)
        async with self._database.write() as session:
            task = await lock_task_to_change(session, task_id)
            if "keep_s" in fields:
                task.expires_at = expiry(fields.pop("keep_s"))
            for column, value in fields.items():
                setattr(task, column, value)
            if change.metadata is not None:
                await _replace_metadata(session, task_id, change.metadata)
            await obey_store(session, task)

    async def activate(
        self, task_id: UUID, number: int, check: Callable[[Version], None], run: Run | None = None
    ) -> None:
        """Let a version serve; `check` may refuse by raising. `run` is the keyed request that asks for it.

        Raises:
            TaskNotFound, VersionNotFound: there is none.
        """
        async with self._database.write() as session:
            task = await lock_task_to_change(session, task_id)
            wanted = (Version.task_id == task_id, Version.number == number)
            version = await session.scalar(select(Version).where(*wanted))
            if version is None:
                raise VersionNotFound(f"task {task_id} has no version {number}")
            check(version)
            task.current_version = number
            await note_created(session, run, number)

    async def expire(self) -> tuple[UUID, ...]:
        """Remove some tasks whose time is over, with all below them; gives their ids."""
        over = select(Task.id).where(Task.expires_at <= database_time()).limit(_MOST_EXPIRED)
        async with self._database.write() as session:
            removed = delete(Task).where(Task.id.in_(over)).returning(Task.id)
            return tuple((await session.scalars(removed)).all())


def expiry(keep_s: float | None) -> ColumnElement[datetime] | None:
    """When a task goes that is kept for so long from now."""
    return None if keep_s is None else database_time(keep_s)


async def obey_store(session: AsyncSession, task: Task) -> None:
    """Forget what a locked task does not keep; the head of this file says what."""
    await session.flush()
    if task.store == "features":
        has_features = (Example.task_id == task.id, Example.features_digest.is_not(None))
        await session.execute(update(Example).where(*has_features).values(digest=None))
    if task.store == "nothing" and task.current_version is not None:
        await session.execute(delete(Example).where(Example.task_id == task.id))
        await session.execute(update(TaskClass).where(TaskClass.task_id == task.id).values(n_examples=0))
        finished = (Version.task_id == task.id, Version.state.in_(FINISHED))
        await session.execute(update(Version).where(*finished).values(support=b""))


async def _replace_metadata(
    session: AsyncSession, task_id: UUID, merge: Callable[[Mapping[str, str]], Mapping[str, str]]
) -> None:
    rows = await session.scalars(select(TaskMetadata).where(TaskMetadata.task_id == task_id))
    after = merge({row.key: row.value for row in rows})
    await session.execute(delete(TaskMetadata).where(TaskMetadata.task_id == task_id))
    if after:
        pairs = [{"task_id": task_id, "key": key, "value": value} for key, value in after.items()]
        await session.execute(insert(TaskMetadata), pairs)
