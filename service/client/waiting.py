"""Waiting until a task is ready, by asking again and again."""

import time

from service.client.answers import Task, task_from_json, version_from_json
from service.client.connection import Connection
from service.error_names import error_class
from service.errors import DeadlineExceeded, NotFound

POLL_S = 0.5


def ready_task(connection: Connection, path: str, task: Task, *, timeout_s: float) -> Task:
    """The task at the path, once its newest version is ready.

    Raises:
        ServiceError: the newest version failed; the class that its error names.
        DeadlineExceeded: it is not ready within `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    while task.pending_version is not None:
        if time.monotonic() > deadline:
            raise DeadlineExceeded(f"task {task.id} is still {task.state} after {timeout_s:.0f} s")
        time.sleep(POLL_S)
        task = task_from_json(connection.get(path).json())
    _raise_if_failed(connection, path)
    return task


def _raise_if_failed(connection: Connection, path: str) -> None:
    """Return if the newest version did not fail; an older one that still answers does not make up for it."""
    newest = next((version_from_json(item) for item in connection.pages(f"{path}/versions", {})), None)
    if newest is not None and newest.state == "failed":
        problem = newest.error
        cls = error_class(problem.type.rpartition("/")[2]) if problem else NotFound
        raise cls(f"version {newest.number} failed: {problem.detail if problem else 'no reason was kept'}")
