"""The classes of a task that exists: rename one, leave it out or take it in again, remove it, move an example."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from service.errors import InvalidRequest
from service.persistence.classes import ClassRows, class_not_found
from service.persistence.database import Database
from service.persistence.tasks import TaskRows
from service.usecases.limits import Limits
from service.usecases.texts import checked_group, checked_label
from service.usecases.viewing import example_view, task_view
from service.usecases.views import ExampleView, TaskView


class TaskClasses:
    """The use cases of classes. Versions never change by them; what is changed counts from the next adaptation."""

    def __init__(self, database: Database, limits: Limits) -> None:
        self._classes = ClassRows(database)
        self._tasks = TaskRows(database)
        self._limits = limits

    async def change(
        self, task_id: UUID, label: str, *, named: str | None = None, is_left_out: bool | None = None
    ) -> TaskView:
        """Give a class another label, leave it out of adaptations or take it in again; None changes nothing.

        Raises:
            TaskNotFound, ClassNotFound: there is none.
            InvalidRequest: nothing was changed.
        """
        known = self._known(task_id, label)
        wanted = None if named is None else checked_label(named, self._limits)
        await self._classes.change(task_id, known, named=wanted, is_left_out=is_left_out)
        return task_view(await self._tasks.get(task_id))

    async def remove(self, task_id: UUID, label: str) -> None:
        """Remove a class with its examples.

        Raises:
            TaskNotFound, ClassNotFound: there is none.
        """
        await self._classes.remove(task_id, self._known(task_id, label))

    async def change_example(self, task_id: UUID, example_id: UUID, fields: Mapping[str, Any]) -> ExampleView:
        """Change `label` and `group` of an example, those that are named; it keeps its features and its age.

        Raises:
            TaskNotFound, ExampleNotFound: there is none.
            InvalidRequest, InvalidSupportSet: nothing was changed.
        """
        checked: dict[str, Any] = {}
        if "label" in fields:
            checked["label"] = checked_label(fields["label"], self._limits)
        if "group" in fields:
            checked["group"] = checked_group(fields["group"])
        most_classes = self._limits.max_classes
        example, label = await self._classes.change_example(task_id, example_id, checked, most_classes=most_classes)
        return example_view(example, label)

    def _known(self, task_id: UUID, label: str) -> str:
        """The label as it is stored, if it is one that can be."""
        try:
            return checked_label(label, self._limits)
        except InvalidRequest:
            raise class_not_found(task_id, label) from None
