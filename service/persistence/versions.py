"""Statements about versions: who adapts them, and what they became."""

from collections.abc import Callable, Collection
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from service.errors import VersionNotFound
from service.persistence.columns import database_time, utc_now
from service.persistence.cursors import cursor_of_number, number_of_cursor
from service.persistence.database import Database
from service.persistence.features import store_features
from service.persistence.idempotency import note_created
from service.persistence.life import obey_store
from service.persistence.locks import is_kept, lock_task, lock_task_to_change, require_task
from service.persistence.orm import Example, Task, Version
from service.persistence.present import PresentSupport, present_support, snapshot
from service.persistence.records import (
    Claim,
    FinishedAdaptation,
    Lease,
    Run,
    SupportRow,
    TaskSnapshot,
    VersionRecord,
)
from service.persistence.support import SupportMember, pack_support, unpack_support

UNFINISHED = ("queued", "adapting")
MAX_NUMBER = 2**31 - 1
"""The largest number that a column holds; no task gets so far."""


class VersionRows:
    """The versions of a database; each method is one transaction unless it says otherwise."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self, task_id: UUID, plan: Callable[[TaskSnapshot], VersionRecord], lease: Lease, run: Run | None = None
    ) -> Version:
        """Store a version of what the task is in this transaction; `plan` may refuse by raising.

        `run` is the keyed request that asks for it, if it has a key.

        Raises:
            TaskNotFound: there is no such task.
        """
        async with self._database.write() as session:
            task = await lock_task_to_change(session, task_id)
            present = await present_support(session, task.id)
            record = plan(snapshot(task, present))
            task.base_model = task.base_model or record.base_model
            task.learner = task.learner or record.learner
            version = await insert_version(session, task, record, present, lease)
            await note_created(session, run, version.number)
            return version

    async def page(self, task_id: UUID, *, limit: int, cursor: str | None) -> tuple[list[Version], str | None]:
        """The next versions, newest first, and the cursor behind them.

        Raises:
            TaskNotFound: there is no such task.
            MalformedRequest: the cursor is not ours.
        """
        query = select(Version).where(Version.task_id == task_id)
        if cursor is not None:
            query = query.where(Version.number < number_of_cursor(cursor))
        async with self._database.read() as session:
            await require_task(session, task_id)
            rows = list(await session.scalars(query.order_by(Version.number.desc()).limit(limit + 1)))
        return rows[:limit], cursor_of_number(rows[limit - 1].number) if len(rows) > limit else None

    async def get(self, task_id: UUID, number: int) -> Version:
        """One version of a task.

        Raises:
            TaskNotFound, VersionNotFound: there is none.
        """
        async with self._database.read() as session:
            await require_task(session, task_id)
            wanted = (Version.task_id == task_id, Version.number == min(number, MAX_NUMBER))
            found = await session.scalar(select(Version).where(*wanted))
        if found is None:
            raise VersionNotFound(f"task {task_id} has no version {number}")
        return found

    async def support(self, version: Version) -> list[SupportRow]:
        """The support set of a version, in the order of its classes; empty if the version is gone."""
        async with self._database.read() as session:
            data = await session.scalar(select(Version.support).where(Version.id == version.id))
            stored = {
                row.id: row for row in await session.scalars(select(Example).where(Example.task_id == version.task_id))
            }
        labels = [index for index, (_, n) in enumerate(version.classes) for _ in range(n)]
        members = unpack_support(data or b"")
        return [
            _support_row(member, label, stored.get(member.example_id), version.base_model_digest)
            for member, label in zip(members, labels[: len(members)], strict=True)
        ]

    async def free(self) -> Version | None:
        """The oldest unfinished version that nobody works on, of a task that is kept."""
        free = select(Version).join(Task).where(Version.state.in_(UNFINISHED), _is_free(), is_kept())
        async with self._database.read() as session:
            return await session.scalar(free.order_by(Version.id).limit(1))

    async def take(self, version: Version, lease: Lease) -> Version | None:
        """The version as it is once the lease's owner works on it; None if somebody else was faster."""
        async with self._database.write() as session:
            task = await lock_task(session, version.task_id)
            free = select(Version).where(Version.id == version.id, Version.state.in_(UNFINISHED), _is_free())
            taken = await session.scalar(free)
            if task is None or taken is None:
                return None
            taken.attempts += 1
            taken.lease_owner = lease.owner
            taken.lease_expires_at = database_time(lease.seconds)
            _set_state(taken, "adapting")
            await _show_versions(session, task)
            return taken

    async def renew(self, lease: Lease, version_ids: Collection[UUID]) -> None:
        """Hold these versions for another while, as far as they are still the owner's.

        A version that another transaction changes at this moment is passed over: waiting for several of them without
        their tasks' locks could be waiting in a circle.
        """
        held = (Version.id.in_(version_ids), Version.lease_owner == lease.owner, Version.state.in_(UNFINISHED))
        async with self._database.write() as session:
            await session.execute(
                update(Version)
                .where(Version.id.in_(select(Version.id).where(*held).with_for_update(skip_locked=True)))
                .values(lease_expires_at=database_time(lease.seconds))
                .execution_options(synchronize_session=False)
            )

    async def void_leases(self) -> None:
        """End every lease: for a database that one process owns, when it starts."""
        async with self._database.write() as session:
            await session.execute(
                update(Version)
                .where(Version.state.in_(UNFINISHED))
                .values(lease_owner=None, lease_expires_at=None)
                .execution_options(synchronize_session=False)
            )

    async def mark_adapting(self, claim: Claim) -> None:
        """Say that the device is at work on the version, if it is still the owner's."""
        await self._change(claim, lambda version: _set_state(version, "adapting"))

    async def note_progress(self, claim: Claim, share: float) -> None:
        """Say how far the adaptation is, if the version is still the owner's."""
        owned = (Version.id == claim.version_id, Version.lease_owner == claim.owner, Version.state == "adapting")
        async with self._database.write() as session:
            await session.execute(update(Version).where(*owned).values(progress=share))

    async def place(self, version: Version) -> int:
        """How many unfinished versions, of any task, were there before this one."""
        before = select(func.count()).where(Version.state.in_(UNFINISHED), Version.id < version.id)
        async with self._database.read() as session:
            return await session.scalar(before) or 0

    async def release(self, claim: Claim, *, counts: bool) -> None:
        """Put the version back into the queue; an attempt that does not count may be repeated without end."""

        def give_up(version: Version) -> None:
            version.attempts -= 0 if counts else 1
            _set_state(version, "queued")
            _end_lease(version)

        await self._change(claim, give_up)

    async def fail(self, claim: Claim, error: dict[str, str]) -> None:
        """Store why the version failed, if it is still the owner's."""

        def fail(version: Version) -> None:
            version.error = dict(error)
            _set_state(version, "failed")
            _end_lease(version)

        await self._change(claim, fail)

    async def finish(self, claim: Claim, finished: FinishedAdaptation) -> bool:
        """Make the version ready, and keep of its examples what the task says; False if it is not the owner's any more.

        It serves from then on, unless one that was made after it does already, or another serves and it is to wait for
        its activation.
        """

        def finish(version: Version) -> None:
            version.artifact, version.n_bytes = finished.artifact, finished.n_bytes
            version.report, version.timings_ms = {**version.report, **finished.report}, dict(finished.timings_ms)
            _set_state(version, "ready")
            _end_lease(version)

        async with self._database.write() as session:
            task = await lock_task(session, claim.task_id)
            version = await _owned(session, claim)
            if task is None or version is None:
                return False
            finish(version)
            may_serve = version.serves_when_ready or task.current_version is None
            if may_serve and version.number > await _newest_ready(session, version):
                task.current_version = version.number
            await _show_versions(session, task)
            if finished.features is not None:
                await store_features(session, finished.features)
            await obey_store(session, task)
            return True

    async def _change(self, claim: Claim, change: Callable[[Version], None]) -> None:
        async with self._database.write() as session:
            task = await lock_task(session, claim.task_id)
            version = await _owned(session, claim)
            if task is not None and version is not None:
                change(version)
                await _show_versions(session, task)


async def insert_version(
    session: AsyncSession, task: Task, record: VersionRecord, support: PresentSupport, lease: Lease
) -> Version:
    """Add a version to a task that is new or locked."""
    newest = await session.scalar(select(func.max(Version.number)).where(Version.task_id == task.id))
    version = Version(
        id=record.id,
        task_id=task.id,
        number=(newest or 0) + 1,
        state="queued",
        learner=record.learner,
        base_model=record.base_model,
        base_model_digest=record.base_model_digest,
        settings=dict(record.settings),
        report=dict(record.report),
        classes=[[each.label, each.n_examples] for each in support.classes],
        support=pack_support(support.members),
        serves_when_ready=record.serves_when_ready,
        attempts=1,
        lease_owner=lease.owner,
        lease_expires_at=database_time(lease.seconds),
    )
    session.add(version)
    await _show_versions(session, task)
    return version


async def _owned(session: AsyncSession, claim: Claim) -> Version | None:
    owned = (Version.id == claim.version_id, Version.lease_owner == claim.owner, Version.state.in_(UNFINISHED))
    return await session.scalar(select(Version).where(*owned))


async def _newest_ready(session: AsyncSession, but: Version) -> int:
    """The highest number of a ready version of the same task that served by itself, but for this one; 0 without one."""
    others = (Version.task_id == but.task_id, Version.state == "ready", Version.id != but.id, Version.serves_when_ready)
    return await session.scalar(select(func.max(Version.number)).where(*others)) or 0


def _support_row(member: SupportMember, label: int, stored: Example | None, base_model_digest: str) -> SupportRow:
    """The row of a member of a support set, whose example may be deleted by now."""
    features = None
    if stored is not None and stored.features_base_model == base_model_digest:
        features = (stored.features_digest or "", stored.features_row or 0)
    group = None if stored is None else stored.group_name
    return SupportRow(member.example_id, member.digest, label, features, group)


def _is_free() -> ColumnElement[bool]:
    return or_(Version.lease_owner.is_(None), Version.lease_expires_at < database_time())


def _set_state(version: Version, state: str) -> None:
    version.state = state
    version.progress = None


def _end_lease(version: Version) -> None:
    version.lease_owner = None
    version.lease_expires_at = None


async def _show_versions(session: AsyncSession, task: Task) -> None:
    """Write into the task's row what it shows of its versions."""
    await session.flush()
    query = select(Version.number, Version.state).where(Version.task_id == task.id).order_by(Version.number)
    states = {row[0]: row[1] for row in await session.execute(query)}
    task.pending_version = max((number for number, state in states.items() if state in UNFINISHED), default=None)
    task.state = "ready" if task.current_version is not None else states[max(states)]
    task.updated_at = utc_now()
