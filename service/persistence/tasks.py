"""Statements about tasks: create, find, list, delete."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql import Select

from service.persistence.columns import database_time
from service.persistence.cursors import cursor_of_id, id_of_cursor
from service.persistence.database import Database
from service.persistence.examples import insert_examples
from service.persistence.idempotency import note_created
from service.persistence.life import expiry
from service.persistence.locks import is_kept, task_not_found
from service.persistence.orm import Task, TaskClass, TaskMetadata, Version
from service.persistence.present import present_support
from service.persistence.records import ExampleRecord, Lease, Run, TaskRecord, TaskRoom, VersionRecord
from service.persistence.versions import MAX_NUMBER, insert_version


@dataclass(frozen=True, slots=True)
class StoredTask:
    """A task with the rows that are shown with it."""

    row: Task
    classes: tuple[TaskClass, ...]
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ServingRow:
    """A task's state and threshold and, where it exists, the version that was asked for.

    Attributes:
        left_s: how long the task is kept from now, by the database's clock; None is for good.
    """

    task_state: str
    version: Version | None
    threshold: float | None
    left_s: float | None


class TaskRows:
    """The tasks of a database; each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_empty(self, task: TaskRecord, run: Run | None = None) -> StoredTask:
        """Store a task without examples; `run` is the keyed request that asks for it, if it has a key."""
        async with self._database.write() as session:
            row = await _insert_task(session, task)
            await note_created(session, run, task.id)
            return await _as_stored(session, row)

    async def create(
        self,
        task: TaskRecord,
        examples: Sequence[ExampleRecord],
        version: VersionRecord,
        *,
        lease: Lease,
        room: TaskRoom,
        run: Run | None = None,
    ) -> Version:
        """Store a task with its examples and its first version, which it gives; `run` as in `create_empty`.

        Raises:
            RequestTooLarge, InvalidSupportSet: there are more examples or classes than a task may have.
        """
        async with self._database.write() as session:
            row = await _insert_task(session, task)
            await insert_examples(session, row, examples, room)
            await note_created(session, run, task.id)
            return await insert_version(session, row, version, await present_support(session, row.id), lease)

    async def get(self, task_id: UUID) -> StoredTask:
        """One task.

        Raises:
            TaskNotFound: there is none.
        """
        async with self._database.read() as session:
            row = await session.scalar(select(Task).where(Task.id == task_id, is_kept()))
            if row is None:
                raise task_not_found(task_id)
            return (await _with_details(session, [row]))[0]

    async def page(
        self, *, limit: int, cursor: str | None, state: str | None, metadata: Mapping[str, str]
    ) -> tuple[list[StoredTask], str | None]:
        """The next tasks, newest first, with the state and every pair; and the cursor behind them.

        Raises:
            MalformedRequest: the cursor is not ours.
        """
        query = _filtered(select(Task).where(is_kept()), state, metadata).order_by(Task.id.desc()).limit(limit + 1)
        if cursor is not None:
            query = query.where(Task.id < id_of_cursor(cursor))
        async with self._database.read() as session:
            rows = list(await session.scalars(query))
            tasks = await _with_details(session, rows[:limit])
        return tasks, cursor_of_id(rows[limit - 1].id) if len(rows) > limit else None

    async def delete(self, task_id: UUID) -> None:
        """Remove a task and all below it.

        Raises:
            TaskNotFound: there is none.
        """
        async with self._database.write() as session:
            wanted = delete(Task).where(Task.id == task_id, is_kept())
            if await session.scalar(wanted.returning(Task.id)) is None:
                raise task_not_found(task_id)

    async def serving(self, task_id: UUID, number: int | None) -> ServingRow:
        """The version with this number, or the one that serves.

        Raises:
            TaskNotFound: there is no such task.
        """
        wanted = Task.current_version if number is None else min(number, MAX_NUMBER)
        query = (
            select(Task.state, Version, Task.threshold, Task.expires_at, database_time())
            .outerjoin(Version, (Version.task_id == Task.id) & (Version.number == wanted))
            .where(Task.id == task_id, is_kept())
        )
        async with self._database.read() as session:
            found = (await session.execute(query)).first()
        if found is None:
            raise task_not_found(task_id)
        state, version, threshold, expires_at, now = found
        return ServingRow(state, version, threshold, None if expires_at is None else (expires_at - now).total_seconds())


async def _insert_task(session: AsyncSession, task: TaskRecord) -> Task:
    row = Task(
        id=task.id,
        name=task.name,
        base_model=task.base_model,
        learner=task.learner,
        prior=task.prior,
        threshold=task.threshold,
        store=task.store,
        expires_at=expiry(task.keep_s),
    )
    session.add(row)
    await session.flush()
    pairs = [{"task_id": task.id, "key": key, "value": value} for key, value in task.metadata.items()]
    if pairs:
        await session.execute(insert(TaskMetadata), pairs)
    return row


def _filtered(query: Select[Any], state: str | None, metadata: Mapping[str, str]) -> Select[Any]:
    if state is not None:
        query = query.where(Task.state == state)
    for key, value in metadata.items():
        having = select(TaskMetadata.task_id).where(TaskMetadata.key == key, TaskMetadata.value == value)
        query = query.where(Task.id.in_(having))
    return query


async def _as_stored(session: AsyncSession, row: Task) -> StoredTask:
    """The task as this transaction leaves it, with what the database itself puts into the row."""
    await session.flush()
    await session.refresh(row)
    return (await _with_details(session, [row]))[0]


async def _with_details(session: AsyncSession, rows: Sequence[Task]) -> list[StoredTask]:
    ids = [row.id for row in rows]
    classes: dict[UUID, list[TaskClass]] = {id_: [] for id_ in ids}
    metadata: dict[UUID, dict[str, str]] = {id_: {} for id_ in ids}
    order = select(TaskClass).where(TaskClass.task_id.in_(ids)).order_by(TaskClass.position)
    for found in await session.scalars(order):
        classes[found.task_id].append(found)
    for pair in await session.scalars(select(TaskMetadata).where(TaskMetadata.task_id.in_(ids))):
        metadata[pair.task_id][pair.key] = pair.value
    return [StoredTask(row, tuple(classes[row.id]), metadata[row.id]) for row in rows]
