"""Statements about the examples of a task, and which artifacts the rows name."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.errors import ExampleNotFound, ExamplesNotKept, InvalidSupportSet, RequestTooLarge
from service.persistence.cursors import cursor_of_id, id_of_cursor
from service.persistence.database import Database
from service.persistence.idempotency import note_created
from service.persistence.locks import lock_task_to_change, require_task
from service.persistence.orm import Example, Task, TaskClass, Version
from service.persistence.records import ExampleRecord, Run, TaskRoom
from service.persistence.support import unpack_support
from service.persistence.versions import UNFINISHED

_DIGESTS_A_QUERY = 500


class ExampleRows:
    """The examples of a database; each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self, task_id: UUID, examples: Sequence[ExampleRecord], room: TaskRoom, run: Run | None = None
    ) -> list[tuple[Example, str]]:
        """Store examples, with new classes as they come; gives each with its label.

        `run` is the keyed request that asks for it, if it has a key.

        Raises:
            TaskNotFound: there is no such task.
            ExamplesNotKept: the task keeps nothing of its examples, and was adapted.
            RequestTooLarge, InvalidSupportSet: the task has no room for so many examples or classes.
        """
        async with self._database.write() as session:
            task = await lock_task_to_change(session, task_id)
            await insert_examples(session, task, examples, room)
            ids = [example.id for example in examples]
            await note_created(session, run, *ids)
            return await labelled_examples(session, task_id, ids)

    async def some(self, task_id: UUID, example_ids: Sequence[UUID]) -> list[tuple[Example, str]]:
        """Those of the examples that the task still has, oldest first, each with its label.

        Raises:
            TaskNotFound: there is no such task.
        """
        async with self._database.read() as session:
            await require_task(session, task_id)
            return await labelled_examples(session, task_id, example_ids)

    async def page(
        self, task_id: UUID, *, limit: int, cursor: str | None
    ) -> tuple[list[tuple[Example, str]], str | None]:
        """The next examples with their labels, oldest first, and the cursor behind them.

        Raises:
            TaskNotFound: there is no such task.
            MalformedRequest: the cursor is not ours.
        """
        query = select(Example, TaskClass.label).join(TaskClass).where(Example.task_id == task_id)
        if cursor is not None:
            query = query.where(Example.id > id_of_cursor(cursor))
        async with self._database.read() as session:
            await require_task(session, task_id)
            found = [(row[0], row[1]) for row in await session.execute(query.order_by(Example.id).limit(limit + 1))]
        return found[:limit], cursor_of_id(found[limit - 1][0].id) if len(found) > limit else None

    async def get(self, task_id: UUID, example_id: UUID) -> Example:
        """One example.

        Raises:
            TaskNotFound, ExampleNotFound: there is none.
        """
        async with self._database.read() as session:
            await require_task(session, task_id)
            return await find_example(session, task_id, example_id)

    async def features(self, task_id: UUID, base_model_digest: str) -> list[tuple[str, int]]:
        """Digest and row of the features under a base model, of the examples that have some."""
        query = select(Example.features_digest, Example.features_row).where(
            Example.task_id == task_id, Example.features_base_model == base_model_digest
        )
        async with self._database.read() as session:
            found = await session.execute(query.order_by(Example.id))
            return [(row[0], row[1]) for row in found if row[0] is not None and row[1] is not None]

    async def delete(self, task_id: UUID, example_id: UUID) -> None:
        """Remove an example, and its class if that was the last one.

        Raises:
            TaskNotFound, ExampleNotFound: there is none.
        """
        async with self._database.write() as session:
            await lock_task_to_change(session, task_id)
            example = await find_example(session, task_id, example_id)
            own_class = await session.get_one(TaskClass, example.class_id)
            own_class.n_examples -= 1
            await session.execute(delete(Example).where(Example.id == example_id))
            if own_class.n_examples == 0:
                await session.delete(own_class)

    async def named(self, digests: Sequence[str]) -> frozenset[str]:
        """Those of the digests that some row names: an original, features, task parameters, or pending support."""
        named: set[str] = set()
        async with self._database.read() as session:
            for start in range(0, len(digests), _DIGESTS_A_QUERY):
                batch = digests[start : start + _DIGESTS_A_QUERY]
                for column in (Example.digest, Example.features_digest, Version.artifact):
                    named.update(
                        digest for digest in await session.scalars(select(column).where(column.in_(batch))) if digest
                    )
            for data in await session.scalars(select(Version.support).where(Version.state.in_(UNFINISHED))):
                named.update(member.digest for member in unpack_support(data) if member.digest)
        return frozenset(named.intersection(digests))


async def insert_examples(session: AsyncSession, task: Task, examples: Sequence[ExampleRecord], room: TaskRoom) -> None:
    """Add examples to a task that is new or locked; new classes follow those it has, in order of appearance.

    Raises:
        ExamplesNotKept: the task keeps nothing of its examples, and was adapted.
        RequestTooLarge, InvalidSupportSet: the task has no room for so many examples or classes.
    """
    if not examples:
        return
    if task.store == "nothing" and task.current_version is not None:
        raise ExamplesNotKept(
            "the task keeps nothing of its examples (store is 'nothing'), so that it cannot learn from more; "
            "make a new task"
        )
    stored = await session.scalars(select(TaskClass).where(TaskClass.task_id == task.id).order_by(TaskClass.position))
    classes = {row.label: row for row in stored}
    _check_room(classes, examples, room)
    position = max((row.position for row in classes.values()), default=-1)
    for example in examples:
        if example.label not in classes:
            position += 1
            row = TaskClass(
                task_id=task.id, label=example.label, position=position, n_examples=0, is_left_out=example.is_left_out
            )
            session.add(row)
            classes[example.label] = row
        classes[example.label].n_examples += 1
    await session.flush()
    await session.execute(insert(Example), [_values(task, classes[example.label], example) for example in examples])


async def find_example(session: AsyncSession, task_id: UUID, example_id: UUID) -> Example:
    """One example of a task.

    Raises:
        ExampleNotFound: the task has none with this id.
    """
    found = await session.scalar(select(Example).where(Example.id == example_id, Example.task_id == task_id))
    if found is None:
        raise ExampleNotFound(f"task {task_id} has no example {example_id}")
    return found


async def labelled_examples(
    session: AsyncSession, task_id: UUID, example_ids: Sequence[UUID]
) -> list[tuple[Example, str]]:
    """Those of the examples that a task has, oldest first, each with its label; at least one is asked for."""
    wanted = frozenset(example_ids)
    query = (
        select(Example, TaskClass.label).join(TaskClass).where(Example.task_id == task_id, Example.id >= min(wanted))
    )
    return [(row[0], row[1]) for row in await session.execute(query.order_by(Example.id)) if row[0].id in wanted]


def _check_room(classes: dict[str, TaskClass], examples: Sequence[ExampleRecord], room: TaskRoom) -> None:
    n_examples = sum(row.n_examples for row in classes.values()) + len(examples)
    if n_examples > room.n_examples:
        raise RequestTooLarge(f"the task would have {n_examples} examples, at most {room.n_examples} are allowed")
    n_classes = len(classes.keys() | {example.label for example in examples})
    if n_classes > room.n_classes:
        raise InvalidSupportSet(f"the task would have {n_classes} classes, at most {room.n_classes} are allowed")


def _values(task: Task, own_class: TaskClass, example: ExampleRecord) -> dict[str, object]:
    return {
        "id": example.id,
        "task_id": task.id,
        "class_id": own_class.id,
        "digest": example.digest,
        "filename": example.filename,
        "media_type": example.media_type,
        "size_bytes": example.size_bytes,
        "width_px": example.width_px,
        "height_px": example.height_px,
        "looks_drawn": example.looks_drawn,
        "source": example.source,
        "group_name": example.group,
    }
