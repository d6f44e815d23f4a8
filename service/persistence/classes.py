"""Statements about the classes of a task: rename one, leave it out of adaptations, remove it, move an example."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.errors import ClassNotFound, InvalidRequest, InvalidSupportSet
from service.persistence.database import Database
from service.persistence.examples import find_example
from service.persistence.locks import lock_task_to_change
from service.persistence.orm import Example, Task, TaskClass


class ClassRows:
    """The classes of a database; each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def change(self, task_id: UUID, label: str, *, named: str | None, is_left_out: bool | None) -> None:
        """Give a class another label, leave it out of adaptations or take it in again; None changes nothing.

        Raises:
            TaskNotFound, ClassNotFound: there is none.
            InvalidRequest: the task has a class of that label already.
        """
        async with self._database.write() as session:
            task = await lock_task_to_change(session, task_id)
            found = await _class(session, task_id, label)
            if found is None:
                raise class_not_found(task_id, label)
            if named is not None and named != label:
                await _rename(session, task, found, named)
            if is_left_out is not None:
                found.is_left_out = is_left_out

    async def remove(self, task_id: UUID, label: str) -> None:
        """Remove a class with its examples.

        Raises:
            TaskNotFound, ClassNotFound: there is none.
        """
        async with self._database.write() as session:
            await lock_task_to_change(session, task_id)
            wanted = delete(TaskClass).where(TaskClass.task_id == task_id, TaskClass.label == label)
            removed = await session.scalar(wanted.returning(TaskClass.id))
            if removed is None:
                raise class_not_found(task_id, label)

    async def change_example(
        self, task_id: UUID, example_id: UUID, fields: Mapping[str, Any], *, most_classes: int
    ) -> tuple[Example, str]:
        """Move an example to the class `label`, set its `group`, as far as named; gives it with its label.

        A class that the task does not have comes last; one that loses its only example goes.

        Raises:
            TaskNotFound, ExampleNotFound: there is none.
            InvalidSupportSet: the task would have too many classes.
        """
        async with self._database.write() as session:
            await lock_task_to_change(session, task_id)
            example = await find_example(session, task_id, example_id)
            own = await session.get_one(TaskClass, example.class_id)
            if "group" in fields:
                example.group_name = fields["group"]
            label: str = fields.get("label", own.label)
            if label != own.label:
                await _move(session, example, own, label, most_classes=most_classes)
            await session.flush()
            return example, label


def class_not_found(task_id: UUID, label: str) -> ClassNotFound:
    """The error for a class that a task does not have."""
    return ClassNotFound(f"task {task_id} has no class {label[:100]!a}")


async def _class(session: AsyncSession, task_id: UUID, label: str) -> TaskClass | None:
    return await session.scalar(select(TaskClass).where(TaskClass.task_id == task_id, TaskClass.label == label))


async def _rename(session: AsyncSession, task: Task, found: TaskClass, named: str) -> None:
    if await _class(session, task.id, named) is not None:
        raise InvalidRequest(f"the task has a class {named!r} already; move the examples to it instead")
    if isinstance(task.prior, Mapping):
        task.prior = {named if label == found.label else label: weight for label, weight in task.prior.items()}
    found.label = named


async def _move(session: AsyncSession, example: Example, own: TaskClass, label: str, *, most_classes: int) -> None:
    target = await _class(session, example.task_id, label) or await _added(session, example.task_id, label)
    own.n_examples -= 1
    target.n_examples += 1
    example.class_id = target.id
    await session.flush()
    if own.n_examples == 0:
        await session.delete(own)
        await session.flush()
    counted = select(func.count()).select_from(TaskClass).where(TaskClass.task_id == example.task_id)
    n_classes = await session.scalar(counted) or 0
    if n_classes > most_classes:
        raise InvalidSupportSet(f"the task would have {n_classes} classes, at most {most_classes} are allowed")


async def _added(session: AsyncSession, task_id: UUID, label: str) -> TaskClass:
    last = await session.scalar(select(func.max(TaskClass.position)).where(TaskClass.task_id == task_id))
    position = 0 if last is None else last + 1
    added = TaskClass(task_id=task_id, label=label, position=position, n_examples=0)
    session.add(added)
    await session.flush()
    return added
