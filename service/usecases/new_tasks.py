"""Tasks that are to be created: what a client says, checked, and the rows that come of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from service.persistence.ids import new_id
from service.persistence.records import TaskRecord, TaskSnapshot, VersionRecord
from service.usecases.base_models import BaseModelCard, BaseModels
from service.usecases.intake import DecodedUploads, Intake, class_counts, left_out
from service.usecases.life import checked_keep_s, checked_store, checked_threshold
from service.usecases.limits import Limits
from service.usecases.plans import (
    Prior,
    Wish,
    check_classes,
    check_learner,
    checked_prior,
    planned_version,
    prior_of_classes,
    prior_without,
)
from service.usecases.texts import checked_metadata, checked_name
from service.usecases.uploads import LabelledUpload


@dataclass(frozen=True, slots=True)
class NewTask:
    """What a client says about a task it creates; None where it says nothing."""

    name: str | None = None
    base_model: str | None = None
    learner: str | None = None
    prior: Prior = "balanced"
    metadata: Mapping[str, str] = field(default_factory=dict)
    uploads: Sequence[LabelledUpload] = ()
    store: str = "images"
    threshold: float | None = None
    keep_s: float | None = None


def check_new_task(new: NewTask, cards: Sequence[BaseModelCard], *, intake: Intake, limits: Limits) -> None:
    """Return if nothing is wrong that can be known before an image is read."""
    check_learner(new.learner, cards)
    task_record(new, None, limits=limits)
    labels = intake.check(new.uploads)
    without = left_out(new.uploads, labels)
    classes = class_counts([label for label in labels if label not in without])
    check_classes(classes, limits, left_out=without)
    prior_of_classes(prior_without(checked_prior(new.prior, limits), without), classes)


def first_version(new: NewTask, decoded: DecodedUploads, *, base_models: BaseModels, limits: Limits) -> VersionRecord:
    """The version that a task is to be adapted to as it is created."""
    prior = checked_prior(new.prior, limits)
    task = TaskSnapshot(
        new.base_model,
        new.learner,
        prior,
        decoded.taken,
        decoded.looks_drawn,
        new.store,
        left_out=decoded.left_out,
    )
    return planned_version(task, Wish(), base_models, limits)


def task_record(new: NewTask, version: VersionRecord | None, *, limits: Limits) -> TaskRecord:
    """The row of a task, whose base model and learner are those of its first version, if it gets one at once.

    Raises:
        InvalidRequest: what the client says cannot be right.
    """
    return TaskRecord(
        id=new_id(),
        name=checked_name(new.name),
        base_model=version.base_model if version else new.base_model,
        learner=version.learner if version else new.learner,
        prior=checked_prior(new.prior, limits),
        metadata=checked_metadata(new.metadata, limits),
        store=checked_store(new.store),
        threshold=checked_threshold(new.threshold),
        keep_s=checked_keep_s(new.keep_s),
    )
