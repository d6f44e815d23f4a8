"""The life of a task: its name and threshold, what it keeps and for how long, the version that serves."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from service.errors import BaseModelGone, InvalidRequest, TaskNotReady
from service.persistence.database import Database
from service.persistence.life import LifeRows
from service.persistence.orm import Version
from service.persistence.records import Run, TaskChange
from service.persistence.tasks import TaskRows
from service.usecases.base_models import BaseModels
from service.usecases.limits import Limits
from service.usecases.serving import ServingVersions, advice
from service.usecases.texts import checked_metadata, checked_name
from service.usecases.viewing import task_view
from service.usecases.views import TaskView

STORES = ("images", "features", "nothing")
MAX_KEEP_S = 3650 * 86400.0


@dataclass(frozen=True, slots=True)
class TaskUpdate:
    """What a client wants changed of a task.

    Attributes:
        fields: those it names among `name`, `threshold`, `store` and `keep_s`; None takes a name, a threshold or an
            end away.
        metadata: pairs to set, and keys to remove where the value is None; None removes all.
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, str | None] | None = field(default_factory=dict)


class TaskLife:
    """The use cases of a task that exists."""

    def __init__(self, database: Database, base_models: BaseModels, limits: Limits, serving: ServingVersions) -> None:
        self._life = LifeRows(database)
        self._tasks = TaskRows(database)
        self._base_models = base_models
        self._limits = limits
        self._serving = serving

    async def update(self, task_id: UUID, wanted: TaskUpdate) -> TaskView:
        """Change what is named, and nothing else.

        Raises:
            TaskNotFound: there is no such task.
            InvalidRequest: nothing was changed.
        """
        await self._life.update(task_id, TaskChange(_checked_fields(wanted.fields), self._merging(wanted.metadata)))
        return await self._changed(task_id)

    async def activate(self, task_id: UUID, number: int, *, run: Run | None = None) -> TaskView:
        """Let a ready version serve, until another one is activated or a newer one becomes ready.

        `run` is the keyed request that asks for it, if it has a key.

        Raises:
            TaskNotFound, VersionNotFound: there is no such version.
            TaskNotReady: the version cannot answer.
            BaseModelGone: its base model is not loaded.
        """

        def check(version: Version) -> None:
            if version.state != "ready":
                raise TaskNotReady(f"version {number} of task {task_id} is {version.state}; {advice(version.state)}")
            if self._base_models.by_digest(version.base_model_digest) is None:
                raise BaseModelGone(
                    f"version {number} was adapted from base model {version.base_model_digest}, which is not loaded"
                )

        await self._life.activate(task_id, number, check, run)
        return await self._changed(task_id)

    async def _changed(self, task_id: UUID) -> TaskView:
        self._serving.drop(task_id)
        return task_view(await self._tasks.get(task_id))

    def _merging(
        self, changes: Mapping[str, str | None] | None
    ) -> Callable[[Mapping[str, str]], Mapping[str, str]] | None:
        if changes is None:
            return lambda _before: {}
        if not changes:
            return None
        checked_metadata({key: value or "" for key, value in changes.items()}, self._limits)

        def merge(before: Mapping[str, str]) -> Mapping[str, str]:
            after = {**before, **changes}
            return checked_metadata({key: value for key, value in after.items() if value is not None}, self._limits)

        return merge


def checked_threshold(threshold: float | None) -> float | None:
    """A threshold of the top probability.

    Raises:
        InvalidRequest: it is no probability.
    """
    if threshold is not None and not 0 <= threshold <= 1:
        raise InvalidRequest(f"threshold is {threshold}, expected 0 to 1, or none for the suggested one")
    return threshold


def checked_store(store: str) -> str:
    """What a task is to keep of its uploads.

    Raises:
        InvalidRequest: it is none of the three.
    """
    if store not in STORES:
        raise InvalidRequest(f"store is {store!r}, expected one of {', '.join(STORES)}")
    return store


def checked_keep_s(keep_s: float | None) -> float | None:
    """How long a task is to be kept.

    Raises:
        InvalidRequest: it is not at least a second, or more than ten years.
    """
    if keep_s is not None and not 1 <= keep_s <= MAX_KEEP_S:
        raise InvalidRequest(f"keep_s is {keep_s}, expected 1 to {MAX_KEEP_S:.0f}, or none to keep the task for good")
    return keep_s


_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "name": checked_name,
    "threshold": checked_threshold,
    "store": checked_store,
    "keep_s": checked_keep_s,
}


def _checked_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _CHECKS[name](value) for name, value in fields.items()}
