"""Removing what nothing needs any more: tasks whose time is over, idempotency keys that are old, and files.

A delete removes rows only; the sweep removes the files that it left without a name.
"""

import asyncio
import logging
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from service.artifacts import ArtifactStore
from service.persistence.database import Database
from service.persistence.examples import ExampleRows
from service.persistence.idempotency import KeyRows
from service.persistence.life import LifeRows
from service.telemetry import log_failure
from service.usecases.serving import ServingVersions

SWEEP_EVERY_S = 60.0
_ANSWER_S = 60.0

log = logging.getLogger(__name__)


class Sweeper:
    """Sweeps the tasks, the artifacts and the keys when it starts and every minute."""

    def __init__(
        self,
        database: Database,
        artifacts: ArtifactStore,
        serving: ServingVersions,
        *,
        every_s: float = SWEEP_EVERY_S,
    ) -> None:
        self._rows = ExampleRows(database)
        self._life = LifeRows(database)
        self._serving = serving
        self._keys = KeyRows(database)
        self._artifacts = artifacts
        self._every_s = every_s
        self._stopping = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to sweep."""
        self._stopping.clear()
        self._loop = asyncio.create_task(self._sweep_for_ever())

    async def stop(self) -> None:
        """End, in the middle of a sweep if one is going on."""
        self._stopping.set()
        if self._loop is not None:
            await self._loop

    async def _sweep_for_ever(self) -> None:
        while not self._stopping.is_set():
            try:
                await self.expire()
                removed = await self.sweep()
                if removed:
                    log.info("swept %d files that nothing names", removed)
                await self._keys.purge()
            except _StoppingError:
                return
            except Exception as error:  # noqa: BLE001  # the loop must live on
                log_failure(log, "a sweep failed", error)
            try:
                await asyncio.wait_for(self._stopping.wait(), self._every_s)
            except TimeoutError:
                continue

    async def expire(self) -> None:
        """Remove the tasks whose time is over; their files go with a later sweep."""
        while removed := await self._life.expire():
            for task_id in removed:
                self._serving.drop(task_id)
            log.info("removed %d tasks whose time was over", len(removed))

    async def sweep(self) -> int:
        """Remove old files that no row names; gives how many."""
        loop = asyncio.get_running_loop()

        def named(digests: Sequence[str]) -> AbstractSet[str]:
            if self._stopping.is_set():
                raise _StoppingError
            return asyncio.run_coroutine_threadsafe(self._rows.named(digests), loop).result(_ANSWER_S)

        return await asyncio.to_thread(self._artifacts.sweep, named)


class _StoppingError(Exception):
    """The sweep was told to end."""
