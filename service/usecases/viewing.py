"""Rows become views."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import cast

from service.persistence.orm import Example, Version
from service.persistence.records import ClassCount, TaskRecord
from service.persistence.tasks import StoredTask
from service.usecases.views import (
    ClassView,
    ExampleView,
    Source,
    Store,
    TaskState,
    TaskView,
    VersionError,
    VersionState,
    VersionView,
)


def task_view(task: StoredTask) -> TaskView:
    """A task with its classes and metadata."""
    row = task.row
    classes = tuple(ClassView(each.label, each.n_examples, each.is_left_out) for each in task.classes)
    return TaskView(
        id=row.id,
        name=row.name,
        state=cast("TaskState", row.state),
        base_model=row.base_model,
        learner=row.learner,
        classes=classes,
        n_examples=sum(each.n_examples for each in classes),
        current_version=row.current_version,
        pending_version=row.pending_version,
        metadata=task.metadata,
        threshold=row.threshold,
        store=cast("Store", row.store),
        expires_at=row.expires_at,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def view_of_new(
    task: TaskRecord, classes: Sequence[ClassCount], first: Version, *, left_out: Collection[str]
) -> TaskView:
    """A task with examples as it is right after it was stored, from what was stored: nothing is read."""
    stored_at = first.created_at
    return TaskView(
        id=task.id,
        name=task.name,
        state="queued",
        base_model=first.base_model,
        learner=first.learner,
        classes=tuple(ClassView(each.label, each.n_examples, each.label in left_out) for each in classes),
        n_examples=sum(each.n_examples for each in classes),
        current_version=None,
        pending_version=first.number,
        metadata=task.metadata,
        threshold=task.threshold,
        store=cast("Store", task.store),
        expires_at=None if task.keep_s is None else stored_at + timedelta(seconds=task.keep_s),
        created_at=stored_at,
        updated_at=stored_at,
    )


def example_view(row: Example, label: str) -> ExampleView:
    """An example with its label."""
    return ExampleView(
        id=row.id,
        label=label,
        filename=row.filename,
        media_type=row.media_type,
        size_bytes=row.size_bytes,
        width_px=row.width_px,
        height_px=row.height_px,
        source=cast("Source", row.source),
        has_original=row.digest is not None,
        group=row.group_name,
        created_at=row.created_at,
    )


def version_view(row: Version) -> VersionView:
    """A version without its support set."""
    return VersionView(
        number=row.number,
        state=cast("VersionState", row.state),
        learner=row.learner,
        base_model=row.base_model,
        base_model_digest=row.base_model_digest,
        settings=row.settings,
        report=row.report,
        timings_ms=row.timings_ms,
        progress=row.progress,
        error=None if row.error is None else VersionError(**row.error),
        created_at=row.created_at,
    )
