"""What a version of a task would be adapted on: the examples that the task has at the moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from service.persistence.orm import Example, Task, TaskClass
from service.persistence.records import ClassCount, TaskSnapshot
from service.persistence.support import SupportMember


@dataclass(frozen=True, slots=True)
class PresentSupport:
    """The examples that a task has, ordered by class and age, but for those of classes that are left out.

    `features_only` and `left_out` as in `TaskSnapshot`.
    """

    classes: tuple[ClassCount, ...]
    members: tuple[SupportMember, ...]
    looks_drawn: tuple[bool, ...]
    features_only: frozenset[str]
    left_out: tuple[str, ...]


async def present_support(session: AsyncSession, task_id: UUID) -> PresentSupport:
    """What a version of the task would be adapted on."""
    query = (
        select(TaskClass.label, Example.id, Example.digest, Example.looks_drawn, Example.features_base_model)
        .join(TaskClass, Example.class_id == TaskClass.id)
        .where(Example.task_id == task_id, TaskClass.is_left_out.is_(False))
        .order_by(TaskClass.position, Example.id)
    )
    rows = (await session.execute(query)).all()
    members = tuple(SupportMember(row[1], row[2]) for row in rows)
    features_only = frozenset(row[4] or "" for row in rows if row[2] is None)
    left_out = select(TaskClass.label).where(TaskClass.task_id == task_id, TaskClass.is_left_out)
    return PresentSupport(
        _counts([row[0] for row in rows]),
        members,
        tuple(row[3] for row in rows),
        features_only,
        tuple(await session.scalars(left_out.order_by(TaskClass.position))),
    )


def snapshot(task: Task, present: PresentSupport) -> TaskSnapshot:
    """What a version of the task is planned by."""
    return TaskSnapshot(
        base_model=task.base_model,
        learner=task.learner,
        prior=task.prior,
        classes=present.classes,
        looks_drawn=present.looks_drawn,
        store=task.store,
        is_adapted=task.current_version is not None,
        features_only=present.features_only,
        left_out=present.left_out,
    )


def _counts(labels: Sequence[str]) -> tuple[ClassCount, ...]:
    return tuple(ClassCount(label, labels.count(label)) for label in dict.fromkeys(labels))
