"""Which version answers for a task: a bounded map in front of the database.

Why: a ready version never changes, and one SELECT costs more than the rest of a prediction. What can change is which
version serves, the threshold, and whether the task exists; a change through this process drops the task's entries, and
no entry outlives its task.
"""

import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from service.errors import TaskNotReady, VersionNotFound
from service.persistence.database import Database
from service.persistence.orm import Version
from service.persistence.tasks import ServingRow, TaskRows

_MOST_TASKS = 10_000
_SHARED_AGE_S = 1.0
_ALONE_AGE_S = 60.0


@dataclass(frozen=True, slots=True)
class ServingVersion:
    """What a prediction needs of a ready version.

    Attributes:
        labels: in the order of the probabilities.
        threshold: the task's, or else the one that the version's report suggests, if it does.
        unknown_threshold: the unknown score from which an image is taken for none of the classes, if there is one.
    """

    number: int
    base_model_digest: str
    artifact: str
    labels: tuple[str, ...]
    threshold: float | None = None
    unknown_threshold: float | None = None


class ServingVersions:
    """Keeps (task, version) -> what a prediction needs, so that most predictions ask no database.

    Args:
        max_age_s: how long an entry may hide what another process changed; a change through this process is
            seen at once. None chooses 1 s for PostgreSQL and 60 s for SQLite, which one process owns.
    """

    def __init__(self, database: Database, *, max_age_s: float | None = None) -> None:
        self._rows = TaskRows(database)
        default = _ALONE_AGE_S if database.is_sqlite else _SHARED_AGE_S
        self._max_age_s = default if max_age_s is None else max_age_s
        self._tasks: OrderedDict[UUID, dict[int | None, tuple[float, ServingVersion]]] = OrderedDict()
        self._changes = 0

    async def get(self, task_id: UUID, number: int | None) -> ServingVersion:
        """The version with this number, or the one that serves.

        Raises:
            TaskNotFound, VersionNotFound: there is none.
            TaskNotReady: it cannot answer yet, or never will.
        """
        kept = self._tasks.get(task_id, {}).get(number)
        if kept is not None and time.monotonic() < kept[0]:
            self._tasks.move_to_end(task_id)
            return kept[1]
        changes, asked_at = self._changes, time.monotonic()
        found = await self._rows.serving(task_id, number)
        serving = _serving(found, task_id, number)
        if changes == self._changes:  # else what was read may be older than the change
            kept_s = self._max_age_s if found.left_s is None else min(self._max_age_s, found.left_s)
            self._keep(task_id, number, (asked_at + kept_s, serving))
        return serving

    def drop(self, task_id: UUID) -> None:
        """Forget what is kept of a task, because it changed."""
        self._changes += 1
        self._tasks.pop(task_id, None)

    def _keep(self, task_id: UUID, number: int | None, entry: tuple[float, ServingVersion]) -> None:
        self._tasks.setdefault(task_id, {})[number] = entry
        self._tasks.move_to_end(task_id)
        if len(self._tasks) > _MOST_TASKS:
            self._tasks.popitem(last=False)


def _serving(found: ServingRow, task_id: UUID, number: int | None) -> ServingVersion:
    version = found.version
    if version is None:
        if number is not None:
            raise VersionNotFound(f"task {task_id} has no version {number}")
        raise TaskNotReady(f"task {task_id} is {found.task_state}; {advice(found.task_state)}")
    if version.state != "ready" or version.artifact is None:
        raise TaskNotReady(f"version {version.number} of task {task_id} is {version.state}; {advice(version.state)}")
    threshold = suggested_threshold(version.report) if found.threshold is None else found.threshold
    return ServingVersion(
        version.number,
        version.base_model_digest,
        version.artifact,
        _labels(version),
        threshold,
        suggested_threshold(version.report, "unknown_suggested"),
    )


def _labels(version: Version) -> tuple[str, ...]:
    return tuple(label for label, _ in version.classes)


def suggested_threshold(report: Mapping[str, Any], name: str = "suggested") -> float | None:
    """The threshold that a version's report suggests, if it does: of the top probability, or `unknown_suggested`."""
    suggested = (report.get("threshold") or {}).get(name)
    return None if suggested is None else float(suggested)


def advice(state: str) -> str:
    """What to do about a task or version in this state, which cannot answer."""
    return {
        "empty": "add examples and adapt it",
        "failed": "its versions tell why",
    }.get(state, "ask again after a pause")
