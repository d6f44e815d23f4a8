"""The tables.

    task ---< task_metadata          the client's pairs
      |-----< task_class ---< example    one row an image; the image itself is an artifact
      `-----< version                one adaptation, immutable once finished

Everything below a task goes with it. What a task shows of its versions (state, current and pending version) and of
its examples (their number by class) is kept in the rows that a list reads, written by the transaction that changes it.
Beside these stands `idempotency`: the requests of the last 24 hours that a client may send again.

A version fixes its support set when it is created, in one column: 48 bytes an example, its id and the digest of its
bytes, ordered by class, beside the labels with their counts. Why not a table of pairs: 1,000 examples and 20 versions
would be 20,000 rows to write and to delete, and the list is only ever read whole. An example that is deleted later
stays in the lists of its versions as a record; while such a version is unfinished its digests keep the files from the
sweep, so that it is adapted to what it was created with.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    Double,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    UniqueConstraint,
    false,
    true,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from service.persistence.columns import UtcDateTime, utc_now
from service.persistence.ids import new_id

DIGEST_CHARS = 64
NAME_CHARS = 200
LABEL_CHARS = 200
FILENAME_CHARS = 255
METADATA_KEY_CHARS = 64
METADATA_VALUE_CHARS = 500
IDEMPOTENCY_KEY_CHARS = 255
TARGET_CHARS = 200

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """The tables' common ground: named constraints, and JSON without the JSON null."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {  # noqa: RUF012  # SQLAlchemy's
        datetime: UtcDateTime,
        dict[str, Any]: JSON(none_as_null=True),
        list[str]: JSON(none_as_null=True),
    }


class Task(Base):
    """One classification problem of a client.

    Attributes:
        current_version: the number of the version that serves: the newest that is ready, or the one activated since.
        threshold: below this top probability an answer is no answer; None leaves it to what the version suggests.
        store: what is kept of the uploads: `images`, `features` or `nothing`; see `life.py`.
        expires_at: when the task goes, by the database's clock; None is never.
    """

    __tablename__ = "task"
    __table_args__ = (Index(None, "state", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str | None] = mapped_column(String(NAME_CHARS))
    state: Mapped[str] = mapped_column(String(16), default="empty")
    base_model: Mapped[str | None] = mapped_column(String(NAME_CHARS))
    learner: Mapped[str | None] = mapped_column(String(NAME_CHARS))
    prior: Mapped[Any] = mapped_column(JSON)
    current_version: Mapped[int | None]
    pending_version: Mapped[int | None]
    threshold: Mapped[float | None] = mapped_column(Double)
    store: Mapped[str] = mapped_column(String(16), default="images", server_default="images")
    expires_at: Mapped[datetime | None] = mapped_column(index=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now)


class TaskMetadata(Base):
    """One pair that the client put on a task."""

    __tablename__ = "task_metadata"
    __table_args__ = (Index(None, "key", "value", "task_id"),)

    task_id: Mapped[UUID] = mapped_column(ForeignKey("task.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(METADATA_KEY_CHARS), primary_key=True)
    value: Mapped[str] = mapped_column(String(METADATA_VALUE_CHARS))


class TaskClass(Base):
    """One class of a task; `position` orders them, and adaptations leave it out where `is_left_out`.

    It lives as long as it has examples; where the task stores nothing, it stays with none, as the name of a class.
    """

    __tablename__ = "task_class"
    __table_args__ = (UniqueConstraint("task_id", "label"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    task_id: Mapped[UUID] = mapped_column(ForeignKey("task.id", ondelete="CASCADE"))
    label: Mapped[str] = mapped_column(String(LABEL_CHARS))
    position: Mapped[int]
    n_examples: Mapped[int]
    is_left_out: Mapped[bool] = mapped_column(default=False, server_default=false())


class Example(Base):
    """One stored support image.

    Attributes:
        digest: of the original bytes, an artifact; None once they are not kept.
        looks_drawn: what `imaging` said about the image, for the choice of a base model.
        features_digest: artifact with the features of this example under the base model `features_base_model` (a
            digest), at row `features_row`; all three None until an adaptation stored them.
        source: `upload` or `feedback`.
        group_name: the client's name of the group that the example belongs to: a burst, a slide, a part.
    """

    __tablename__ = "example"
    __table_args__ = (Index(None, "task_id", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    task_id: Mapped[UUID] = mapped_column(ForeignKey("task.id", ondelete="CASCADE"))
    class_id: Mapped[UUID] = mapped_column(ForeignKey("task_class.id", ondelete="CASCADE"), index=True)
    digest: Mapped[str | None] = mapped_column(String(DIGEST_CHARS), index=True)
    filename: Mapped[str | None] = mapped_column(String(FILENAME_CHARS))
    media_type: Mapped[str] = mapped_column(String(100))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    width_px: Mapped[int]
    height_px: Mapped[int]
    looks_drawn: Mapped[bool]
    features_digest: Mapped[str | None] = mapped_column(String(DIGEST_CHARS), index=True)
    features_row: Mapped[int | None]
    features_base_model: Mapped[str | None] = mapped_column(String(DIGEST_CHARS))
    source: Mapped[str] = mapped_column(String(16), default="upload", server_default="upload")
    group_name: Mapped[str | None] = mapped_column(String(LABEL_CHARS))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Version(Base):
    """One adaptation of a task.

    Attributes:
        settings: everything the learner is run with, its prior included.
        classes: `[label, number of examples]` in the order of the head's rows.
        support: the packed support set: see `support.py`; loaded only where it is asked for.
        artifact: digest of the task parameters, with their size `n_bytes`, once it is ready.
        error: `type`, `title` and `detail` of the problem if it failed.
        serves_when_ready: whether it answers from then on; else it waits to be activated.
        attempts: how often somebody began to adapt it.
        progress: share of the work that is done, 0 to 1, while it is adapting and somebody can say.
        lease_owner: who adapts it, until `lease_expires_at` by the database's clock.
    """

    __tablename__ = "version"
    __table_args__ = (UniqueConstraint("task_id", "number"), Index(None, "state", "id"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    task_id: Mapped[UUID] = mapped_column(ForeignKey("task.id", ondelete="CASCADE"))
    number: Mapped[int]
    state: Mapped[str] = mapped_column(String(16), default="queued")
    learner: Mapped[str] = mapped_column(String(NAME_CHARS))
    base_model: Mapped[str] = mapped_column(String(NAME_CHARS))
    base_model_digest: Mapped[str] = mapped_column(String(DIGEST_CHARS))
    settings: Mapped[dict[str, Any]]
    classes: Mapped[Any] = mapped_column(JSON)
    support: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    artifact: Mapped[str | None] = mapped_column(String(DIGEST_CHARS), index=True)
    n_bytes: Mapped[int | None] = mapped_column(BigInteger)
    report: Mapped[dict[str, Any]] = mapped_column(default=dict)
    timings_ms: Mapped[dict[str, Any]] = mapped_column(default=dict)
    error: Mapped[dict[str, Any] | None]
    serves_when_ready: Mapped[bool] = mapped_column(default=True, server_default=true())
    attempts: Mapped[int] = mapped_column(default=0)
    progress: Mapped[float | None] = mapped_column(Double)
    lease_owner: Mapped[str | None] = mapped_column(String(36))
    lease_expires_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Idempotency(Base):
    """A request that its client may send again, by the key that the client gave it.

    It refers to no other table: what a request was told stays true of it after the task is deleted.

    Attributes:
        target: method and path.
        request_digest: of what the request asks for.
        created: ids of what it stored, written by the transaction that stored it.
        status, headers, body: the answer, once it was given.
        lease_owner: the run that may store something, until `lease_expires_at` by the database's clock; both None once
            it has ended.
        expires_at: when the row goes, by the same clock.
    """

    __tablename__ = "idempotency"
    __table_args__ = (UniqueConstraint("target", "key"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    target: Mapped[str] = mapped_column(String(TARGET_CHARS))
    key: Mapped[str] = mapped_column(String(IDEMPOTENCY_KEY_CHARS))
    request_digest: Mapped[str] = mapped_column(String(DIGEST_CHARS))
    created: Mapped[list[str] | None]
    status: Mapped[int | None]
    headers: Mapped[dict[str, Any] | None]
    body: Mapped[bytes | None] = mapped_column(LargeBinary)
    lease_owner: Mapped[str | None] = mapped_column(String(36))
    lease_expires_at: Mapped[datetime | None]
    expires_at: Mapped[datetime] = mapped_column(index=True)
