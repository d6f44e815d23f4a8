"""The row of a task as the lock of everything below it.

Every transaction that changes a task's classes, examples or versions begins with this lock, so that counts and states
kept in the task's rows are never written twice at a time, and no two transactions wait for each other in a circle. On
SQLite a transaction that writes is alone anyway.

A task whose time is over is taken for one that does not exist, also before its row is removed.
"""

from uuid import UUID

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.errors import TaskNotFound
from service.persistence.columns import database_time, utc_now
from service.persistence.orm import Task


async def lock_task(session: AsyncSession, task_id: UUID) -> Task | None:
    """The task, nobody else's until the transaction ends; None if there is none."""
    return await session.scalar(select(Task).where(Task.id == task_id, is_kept()).with_for_update())


async def lock_task_to_change(session: AsyncSession, task_id: UUID) -> Task:
    """The task, locked and marked as updated.

    Raises:
        TaskNotFound: there is none.
    """
    task = await lock_task(session, task_id)
    if task is None:
        raise task_not_found(task_id)
    task.updated_at = utc_now()
    return task


async def require_task(session: AsyncSession, task_id: UUID) -> None:
    """Return if the task exists.

    Raises:
        TaskNotFound: it does not.
    """
    if await session.scalar(select(Task.id).where(Task.id == task_id, is_kept())) is None:
        raise task_not_found(task_id)


def is_kept() -> ColumnElement[bool]:
    """Whether a task's time is not over."""
    return or_(Task.expires_at.is_(None), Task.expires_at > database_time())


def task_not_found(task_id: UUID) -> TaskNotFound:
    """The error for a task that does not exist."""
    return TaskNotFound(f"there is no task {task_id}")
