"""Which task is meant, by its id or its name, and the addresses of what belongs to it."""

import uuid
from typing import TypeAlias
from urllib.parse import quote

from service.client.answers import Example, Task, task_from_json
from service.client.connection import Connection
from service.errors import InvalidRequest, TaskNotFound

TaskRef: TypeAlias = Task | str
"""A task, its id, or a name that only one task has."""


class TaskFinder:
    """Finds tasks through a connection; asks the service only where the id is not known."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(self, task: TaskRef) -> Task:
        """The task as it is at this moment.

        Raises:
            TaskNotFound: there is none.
            InvalidRequest: several tasks have the name; the message names their ids.
        """
        if isinstance(task, Task):
            return self._by_id(task.id)
        if not _is_uuid(task):
            return self._by_name(task)
        try:
            return self._by_id(task)
        except TaskNotFound:
            return self._by_name(task)

    def path(self, task: TaskRef) -> str:
        """The address of a task.

        Raises:
            TaskNotFound, InvalidRequest: as `find`, where a name is given.
        """
        known = isinstance(task, Task) or _is_uuid(task)
        return f"/v1/tasks/{task.id if isinstance(task, Task) else task if known else self._by_name(task).id}"

    def class_path(self, task: TaskRef, label: str) -> str:
        """The address of a class of a task."""
        return f"{self.path(task)}/classes/{quote(label, safe='')}"

    def example_path(self, task: TaskRef, example: Example | str) -> str:
        """The address of an example of a task."""
        return f"{self.path(task)}/examples/{example.id if isinstance(example, Example) else example}"

    def _by_id(self, task_id: str) -> Task:
        return task_from_json(self._connection.get(f"/v1/tasks/{task_id}").json())

    def _by_name(self, name: str) -> Task:
        tasks = map(task_from_json, self._connection.pages("/v1/tasks", {}))
        found = [task for task in tasks if task.name == name]
        if not found:
            raise TaskNotFound(f"no task has the id or the name {name!r}")
        if len(found) > 1:
            ids = ", ".join(task.id for task in found)
            raise InvalidRequest(f"{len(found)} tasks have the name {name!r}; say which by its id: {ids}")
        return found[0]


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
