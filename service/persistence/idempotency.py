"""Statements about requests that a client may send again.

A key is a row. Whoever inserts it, or takes it over from a run whose lease ran out, runs the request; everybody else
is told to wait, or gets the answer. The transaction that stores what the request asks for also writes its ids into
the row, and only while the run is still the row's owner (`note_created`): so of all runs of one key exactly one
stores something, whatever dies when, and the row says truly whether one did.
"""

import uuid
from typing import Any

from sqlalchemy import ColumnElement, delete, false, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from service.errors import IdempotencyKeyReused, RequestInProgress
from service.persistence.columns import database_time
from service.persistence.database import Database
from service.persistence.ids import new_id
from service.persistence.orm import Idempotency
from service.persistence.records import Answer, BegunRun, KeyedRequest, Run

LEASE_S = 15.0
KEPT_S = 24 * 3600.0


class KeyRows:
    """The keyed requests of a database; each method is one transaction.

    Args:
        lease_s: how long a run may go without `renew` before another may take its key over.
        kept_s: how long a key is kept, from its first request.
    """

    def __init__(self, database: Database, *, lease_s: float = LEASE_S, kept_s: float = KEPT_S) -> None:
        self._database = database
        self._lease_s = lease_s
        self._kept_s = kept_s

    async def begin(self, request: KeyedRequest) -> BegunRun | Answer:
        """The answer that the request was given before, or a run of it that is the caller's.

        Raises:
            IdempotencyKeyReused: the key belongs to a request that asks for something else.
            RequestInProgress: another run of it goes on.
        """
        owner = str(uuid.uuid4())
        async with self._database.write() as session:
            inserted = await session.scalar(self._insert(request, owner))
            if inserted is not None:
                return BegunRun(Run(inserted, owner))
            is_leased = func.coalesce(Idempotency.lease_expires_at > database_time(), false())
            query = select(Idempotency, is_leased, Idempotency.expires_at < database_time()).with_for_update()
            same_key = (Idempotency.target == request.target, Idempotency.key == request.key)
            found = (await session.execute(query.where(*same_key))).first()
            if found is None:  # a run failed between the two statements
                raise _in_progress(request.key)
            return self._resolved(found[0], request, owner, is_leased=found[1], is_expired=found[2])

    async def renew(self, run: Run) -> None:
        """Hold the key for another while, if it is still the run's."""
        async with self._database.write() as session:
            await session.execute(
                update(Idempotency).where(*_owned(run)).values(lease_expires_at=database_time(self._lease_s))
            )

    async def finish(self, run: Run, answer: Answer) -> None:
        """Keep the answer, if the key is still the run's."""
        kept = {"status": answer.status, "headers": dict(answer.headers), "body": answer.body}
        async with self._database.write() as session:
            await session.execute(
                update(Idempotency).where(*_owned(run)).values(**kept, lease_owner=None, lease_expires_at=None)
            )

    async def give_up(self, run: Run) -> None:
        """Forget the key if nothing was stored under it; else leave it to the next run to say what was."""
        async with self._database.write() as session:
            await session.execute(delete(Idempotency).where(*_owned(run), Idempotency.created.is_(None)))
            await session.execute(
                update(Idempotency).where(*_owned(run)).values(lease_owner=None, lease_expires_at=None)
            )

    async def void_leases(self) -> None:
        """End every run: for a database that one process owns, when it starts."""
        async with self._database.write() as session:
            running = Idempotency.lease_owner.is_not(None)
            await session.execute(update(Idempotency).where(running).values(lease_owner=None, lease_expires_at=None))

    async def purge(self) -> int:
        """Remove what was kept long enough; gives how many keys."""
        async with self._database.write() as session:
            old = delete(Idempotency).where(Idempotency.expires_at < database_time()).returning(Idempotency.id)
            return len((await session.scalars(old)).all())

    def _insert(self, request: KeyedRequest, owner: str) -> Any:  # noqa: ANN401  # one of two dialects' statements
        insert = sqlite.insert if self._database.is_sqlite else postgresql.insert
        return (
            insert(Idempotency)
            .values(
                id=new_id(),
                target=request.target,
                key=request.key,
                request_digest=request.digest,
                lease_owner=owner,
                lease_expires_at=database_time(self._lease_s),
                expires_at=database_time(self._kept_s),
            )
            .on_conflict_do_nothing(index_elements=["target", "key"])
            .returning(Idempotency.id)
        )

    def _resolved(
        self, row: Idempotency, request: KeyedRequest, owner: str, *, is_leased: bool, is_expired: bool
    ) -> BegunRun | Answer:
        """The answer that stands in a row, or a run that takes it over."""
        if is_expired and not is_leased:
            row.request_digest, row.created = request.digest, None
            row.status, row.headers, row.body = None, None, None
            row.expires_at = database_time(self._kept_s)
        if row.request_digest != request.digest:
            raise _reused(request)
        if row.status is not None:
            return Answer(row.status, row.headers or {}, row.body or b"")
        if is_leased:
            raise _in_progress(request.key)
        row.lease_owner, row.lease_expires_at = owner, database_time(self._lease_s)
        return BegunRun(Run(row.id, owner), None if row.created is None else tuple(row.created))


async def note_created(session: AsyncSession, run: Run | None, *created: object) -> None:
    """Write into the key's row what this transaction stores; without a run there is no key.

    Raises:
        RequestInProgress: the key is not the run's any more; nothing may be stored.
    """
    if run is None:
        return
    noted = update(Idempotency).where(*_owned(run)).values(created=[str(each) for each in created])
    if await session.scalar(noted.returning(Idempotency.id)) is None:
        raise RequestInProgress("this run took too long, and another one has its idempotency key; send it again")


def _owned(run: Run) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return Idempotency.id == run.request_id, Idempotency.lease_owner == run.owner


def _in_progress(key: str) -> RequestInProgress:
    return RequestInProgress(f"a request with the idempotency key {key!r} is still running; send it again later")


def _reused(request: KeyedRequest) -> IdempotencyKeyReused:
    return IdempotencyKeyReused(
        f"the idempotency key {request.key!r} was used for {request.target} with another body; use a new key for it"
    )
