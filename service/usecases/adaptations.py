"""Adaptations that run: each belongs to this process, not to the request that asked for it.

A version is leased while this process works on it: its row names the owner, until a time by the database's clock that
is moved on again and again. A loop takes versions that nobody works on: what a crash left, and what went back into the
queue because the worker died. The result is applied only while the lease is still ours, so two processes that
work on the same version never both finish it, and a version whose task was deleted meanwhile is dropped.

A version whose worker died is tried three times in all, because its own images may be what kills the worker.
"""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, ExitStack, asynccontextmanager, suppress
from typing import Any, TypeAlias
from uuid import UUID

from service.engine.base import AdaptResult, Engine
from service.errors import ArtifactError, ServiceError, Unavailable, WorkerDied
from service.persistence.database import Database
from service.persistence.orm import Version
from service.persistence.records import Claim, FinishedAdaptation, Lease, StoredFeatures
from service.persistence.versions import VersionRows
from service.telemetry import log_failure
from service.usecases.limits import DECODED_BYTES
from service.usecases.reports import named_report
from service.usecases.room import Room
from service.usecases.serving import ServingVersions
from service.usecases.supports import Support, Supports

LEASE_S = 15.0
MAX_ATTEMPTS = 3
_SHOWN_AS_QUEUED_S = 0.5
"""Shorter adaptations go from queued to ready: a change of state of its own would cost more than it tells."""

_ROUND_END_S = 10.0
"""How long a round that is under way may take to end by itself, a few transactions on a machine however busy: cancelled
in the middle of one, it would leave a connection behind."""

_PROGRESS_S = 1.0
"""How often the progress of an adaptation is written: a transaction each."""

Place: TypeAlias = AbstractContextManager[object]
"""A place in the engine's queue, given back when it is closed."""

log = logging.getLogger(__name__)


class Adaptations:
    """The adaptations of this process, and the loop that takes over those that nobody works on.

    Args:
        lease_s: after how long without a sign of this process another one takes over; a round takes a third of it.
        pixels_bytes: most pixels in memory, of adaptations that wait or run; the others wait without any, and read them
            from what is stored when their turn comes.
    """

    def __init__(
        self,
        database: Database,
        engine: Engine,
        supports: Supports,
        serving: ServingVersions,
        *,
        lease_s: float = LEASE_S,
        pixels_bytes: int = DECODED_BYTES,
    ) -> None:
        self._is_alone = database.is_sqlite
        self._versions = VersionRows(database)
        self._engine = engine
        self._supports = supports
        self._serving = serving
        self._room = Room(pixels_bytes)
        self._round_s = lease_s / 3
        self._lease = Lease(str(uuid.uuid4()), lease_s)
        self._running: dict[UUID, asyncio.Task[bool]] = {}
        self._beginning: set[asyncio.Task[asyncio.Task[bool]]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        """Begin to take over what nobody works on; at once where no other process can."""
        if self._is_alone:
            await self._versions.void_leases()
        self._loops = [asyncio.create_task(self._for_ever(step)) for step in (self._renew, self._take_over)]

    async def stop(self, grace_s: float) -> None:
        """Give what runs some time to end, and hand the rest back to the queue."""
        self._stopping.set()
        if self._loops:
            await asyncio.wait(self._loops, timeout=_ROUND_END_S)
        await _cancelled(self._loops)
        if self._beginning:
            await asyncio.wait(self._beginning, timeout=grace_s)
        if self._running:
            await asyncio.wait(self._running.values(), timeout=grace_s)
        await _cancelled(self._running.values())

    async def begin(
        self, place: ExitStack, store: Callable[[Lease], Awaitable[Version]], support: Support | None = None
    ) -> asyncio.Task[bool]:
        """Store a version and adapt it, whether or not the caller stays; gives the running adaptation.

        Args:
            place: kept until the adaptation ended.
            store: the transaction that stores the version under the lease.
            support: its support set, if it is at hand; else, or if there is no room for its pixels, it is read from
                what is stored.
        """
        beginning = asyncio.create_task(self._begin(place, store, support))
        self._beginning.add(beginning)
        beginning.add_done_callback(self._beginning.discard)
        return await asyncio.shield(beginning)

    async def _begin(
        self, place: ExitStack, store: Callable[[Lease], Awaitable[Version]], support: Support | None
    ) -> asyncio.Task[bool]:
        try:
            version = await store(self._lease)
        except BaseException:
            place.close()
            raise
        return self._launch(version, place, support)

    def _launch(self, version: Version, place: Place, support: Support | None) -> asyncio.Task[bool]:
        n_bytes = self._supports.pixels_bytes(version)
        has_room = self._room.taken_at_once(n_bytes)
        room = self._with_room(n_bytes, has_room=has_room)
        running = asyncio.create_task(self._run(version, place, support if has_room else None, room))
        self._running[version.id] = running
        return running

    async def _run(
        self, version: Version, place: Place, support: Support | None, room: AbstractAsyncContextManager[None]
    ) -> bool:
        """Adapt a version of ours and store what came of it; False if it went back into the queue."""
        claim = Claim(version.task_id, version.id, self._lease.owner)
        try:
            with place:
                async with room:
                    return await self._finish_or_release(claim, version, support)
        except asyncio.CancelledError:
            await self._versions.release(claim, counts=False)
            raise
        except Exception as error:  # noqa: BLE001  # whoever takes the version next tries again
            log_failure(log, f"version {version.number} of task {version.task_id} was left unfinished", error)
            return False
        finally:
            self._running.pop(version.id, None)
            self._serving.drop(version.task_id)

    @asynccontextmanager
    async def _with_room(self, n_bytes: int, *, has_room: bool) -> AsyncIterator[None]:
        """Have room for so many bytes inside the block, taken before or waited for."""
        if not has_room:
            await self._room.take(n_bytes)
        try:
            yield
        finally:
            self._room.give_back(n_bytes)

    async def _finish_or_release(self, claim: Claim, version: Version, support: Support | None) -> bool:
        try:
            await self._finish(claim, version, support)
        except WorkerDied as error:
            if version.attempts >= MAX_ATTEMPTS:
                await self._fail(claim, error)
                return True
            await self._versions.release(claim, counts=True)
            return False
        except Unavailable:
            await self._versions.release(claim, counts=False)
            return False
        except ServiceError as error:
            await self._fail(claim, error)
        except Exception as error:
            log.exception("version %d of task %s failed", version.number, version.task_id)
            await self._fail(claim, ServiceError(f"the adaptation failed: {type(error).__name__}"))
        return True

    async def _finish(self, claim: Claim, version: Version, support: Support | None) -> None:
        if support is None:
            support = await self._supports.load(version)
        try:
            result = await self._adapted(claim, version, support)
        except ArtifactError:
            if not support.uses_features:
                raise
            # features can be made again from the originals
            support = await self._supports.load(version, with_features=False)
            result = await self._adapted(claim, version, support)
        finished = FinishedAdaptation(
            result.artifact,
            result.n_bytes,
            named_report(result.report, [label for label, _ in version.classes], support.example_ids),
            result.timings_ms,
            _features(version, support, result),
        )
        if not await self._versions.finish(claim, finished):
            log.info("version %d of task %s is not ours any more; its result is dropped", version.number, claim.task_id)

    async def _adapted(self, claim: Claim, version: Version, support: Support) -> AdaptResult:
        shares = [0.0]
        request = self._supports.request(version, support)
        adapting = asyncio.ensure_future(self._engine.adapt(request, tell=shares.append))
        try:
            await asyncio.wait({adapting}, timeout=_SHOWN_AS_QUEUED_S)
            if not adapting.done():
                await self._versions.mark_adapting(claim)
                await self._show_progress(claim, adapting, shares)
            return await adapting
        finally:
            adapting.cancel()

    async def _show_progress(self, claim: Claim, adapting: asyncio.Future[AdaptResult], shares: list[float]) -> None:
        """Write how far the adaptation is, where that was told since the last time, until it is over."""
        written = 0.0
        while not adapting.done():
            if shares[-1] != written:
                written = shares[-1]
                with suppress(Unavailable):  # it is worth less than the adaptation
                    await self._versions.note_progress(claim, written)
            await asyncio.wait({adapting}, timeout=_PROGRESS_S)

    async def _fail(self, claim: Claim, error: ServiceError) -> None:
        problem = {"type": error.problem_type(), "title": error.title(), "detail": error.message}
        await self._versions.fail(claim, problem)

    async def _for_ever(self, step: Callable[[], Awaitable[None]]) -> None:
        while not self._stopping.is_set():
            try:
                await step()
            except Exception as error:  # noqa: BLE001  # the loop must live on
                log_failure(log, f"a round of {step.__name__} failed", error)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._round_s)

    async def _renew(self) -> None:
        if self._running:
            await self._versions.renew(self._lease, tuple(self._running))

    async def _take_over(self) -> None:
        """Adapt what nobody works on, one after the other, until one goes back into the queue."""
        if self._engine.stats().state != "ready" and not self._is_alone:
            return  # another process may be ready
        await self._renew()  # of a process that stood still the leases are over, but its adaptations go on
        while not self._stopping.is_set() and (free := await self._versions.free()) is not None:
            if free.id in self._running:  # it ran out between two transactions; the next round renews it
                return
            with ExitStack() as place:
                try:
                    place.enter_context(self._engine.reserve())
                except Unavailable:
                    return
                version = await self._versions.take(free, self._lease)
                if version is None:
                    continue
                if not await self._retried(version, place.pop_all()):
                    return

    async def _retried(self, version: Version, place: ExitStack) -> bool:
        if version.attempts <= MAX_ATTEMPTS:
            return await self._is_over(self._launch(version, place, None))
        place.close()
        claim = Claim(version.task_id, version.id, self._lease.owner)
        await self._fail(claim, WorkerDied(f"the worker stopped at each of {MAX_ATTEMPTS} attempts to adapt this"))
        return True

    async def _is_over(self, running: asyncio.Task[bool]) -> bool:
        """Wait for an adaptation, or until this process stops, which then waits for it by itself."""
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        return running.done() and not running.cancelled() and running.result()


async def ended_within(running: asyncio.Task[bool], wait_s: float) -> bool:
    """Whether the adaptation is over after at most wait_s, which is never said at once."""
    if wait_s <= 0:
        return False
    done, _ = await asyncio.wait({running}, timeout=wait_s)
    return running in done and not running.cancelled() and running.result()


def _features(version: Version, support: Support, result: AdaptResult) -> StoredFeatures | None:
    if result.features is None:
        return None
    return StoredFeatures(result.features, version.base_model_digest, support.sent)


async def _cancelled(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel the tasks and wait until they have ended."""
    ending = list(tasks)
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)
