"""How an adaptation goes on, as it is seen by whoever watches it.

Why by looking into the database: the version may be adapted by another process than the one that is asked. It is
looked at five times a second at first, then once, and more seldom where many watch, so that all of them together
look no more than a hundred times a second; a look is one row by its key.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from uuid import UUID

from service.persistence.database import Database
from service.persistence.versions import VersionRows
from service.usecases.viewing import version_view
from service.usecases.views import ProgressView

_OFTEN_S = 0.2
_SELDOM_S = 1.0
_OFTEN_FOR_S = 5.0
_MOST_LOOKS_A_SECOND = 100


class Progress:
    """Watches versions.

    Args:
        is_ending: whether this process is about to end; then it stops watching.
    """

    def __init__(self, database: Database, *, is_ending: Callable[[], bool]) -> None:
        self._versions = VersionRows(database)
        self._is_ending = is_ending
        self._n_watchers = 0

    async def look(self, task_id: UUID, number: int) -> ProgressView:
        """How a version is at the moment.

        Raises:
            TaskNotFound, VersionNotFound: there is no such version.
        """
        row = await self._versions.get(task_id, number)
        place = await self._versions.place(row) if row.state == "queued" else None
        return ProgressView(version_view(row), place)

    async def watch(self, task_id: UUID, seen: ProgressView) -> AsyncGenerator[ProgressView | None, None]:
        """What was seen and every change from then on, up to the end; None at each look without a change.

        Raises:
            TaskNotFound, VersionNotFound: the task was removed meanwhile.
        """
        since = time.monotonic()
        self._n_watchers += 1
        try:
            yield seen
            while not seen.is_over and not self._is_ending():
                await asyncio.sleep(self._pause_s(since))
                now = await self.look(task_id, seen.version.number)
                yield None if now == seen else now
                seen = now
        finally:
            self._n_watchers -= 1

    def _pause_s(self, since: float) -> float:
        wanted_s = _OFTEN_S if time.monotonic() - since < _OFTEN_FOR_S else _SELDOM_S
        return max(wanted_s, self._n_watchers / _MOST_LOOKS_A_SECOND)
