"""Requests that a client sends again because it does not know what became of the first: done once, answered alike.

The client puts an idempotency key on a request. A request with a key runs at most once at a time, and stores something
at most once: see `persistence/idempotency.py`. Its answer is kept and given again to whoever sends the same request.

Only answers that tell of something stored are kept. A request that failed stored nothing, so its key is free again
and the next try runs afresh: a client that repeats after "busy" or "disk full" gets what it asked for, not the old
problem. If the process dies in between, the next try finds what was stored under the key, and answers with that.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from service.errors import ServiceError
from service.persistence.database import Database
from service.persistence.idempotency import LEASE_S, KeyRows
from service.persistence.records import Answer, KeyedRequest, Run

log = logging.getLogger(__name__)


class Retries:
    """Runs keyed requests.

    Args:
        lease_s: how long after the death of a process its keys stay taken; renewed three times as often.
    """

    def __init__(self, database: Database, *, lease_s: float = LEASE_S) -> None:
        self._is_alone = database.is_sqlite
        self._keys = KeyRows(database, lease_s=lease_s)
        self._lease_s = lease_s

    async def start(self) -> None:
        """Free the keys that an earlier process left taken, at once where no other process can have them."""
        if self._is_alone:
            await self._keys.void_leases()

    async def once(
        self,
        request: KeyedRequest,
        act: Callable[[Run], Awaitable[Answer]],
        recall: Callable[[tuple[str, ...]], Awaitable[Answer]],
    ) -> tuple[Answer, bool]:
        """The answer to a request, and whether it had been done before.

        `act` does what is asked and stores it under the run; `recall` makes the answer of the ids of what was stored,
        where nobody lived to give it.

        Raises:
            IdempotencyKeyReused: the key belongs to a request that asks for something else.
            RequestInProgress: the same request is being worked on.
        """
        begun = await self._keys.begin(request)
        if isinstance(begun, Answer):
            return begun, True
        try:
            async with self._held(begun.run):
                answer = await (act(begun.run) if begun.created is None else recall(begun.created))
        except BaseException:
            await self._quietly(self._keys.give_up(begun.run))
            raise
        await self._quietly(self._keys.finish(begun.run, answer))
        return answer, begun.created is not None

    @asynccontextmanager
    async def _held(self, run: Run) -> AsyncIterator[None]:
        """Keep the run's lease alive inside the block."""
        over = asyncio.Event()
        renewing = asyncio.create_task(self._renew_until(over, run))
        try:
            yield
        finally:
            over.set()
            await renewing

    async def _renew_until(self, over: asyncio.Event, run: Run) -> None:
        while True:
            try:
                await asyncio.wait_for(over.wait(), self._lease_s / 3)
            except TimeoutError:
                await self._quietly(self._keys.renew(run))
            else:
                return

    async def _quietly(self, statement: Awaitable[None]) -> None:
        """Do it if the database lets us: if not, the lease runs out, and the key's row still says what was stored."""
        try:
            await statement
        except ServiceError as error:
            log.warning("a key was not written: %s", error.message)
