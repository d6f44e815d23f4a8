"""How good a task is: measured on a labelled query set, or told from the report of its own examples."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal, TypeAlias
from uuid import UUID

from service.errors import BadItem, InvalidRequest, RequestTooLarge, UploadRejected
from service.persistence.database import Database
from service.persistence.versions import VersionRows
from service.usecases.evaluation_figures import UNKNOWN, EvaluationView, evaluated, reported
from service.usecases.limits import Limits
from service.usecases.predictions import Predictions
from service.usecases.serving import ServingVersion, ServingVersions
from service.usecases.texts import checked_labels
from service.usecases.uploads import LabelledUpload
from service.usecases.views import ImagePrediction
from service.wording import counted

UnknownLabels: TypeAlias = Literal["refuse", "count"]
"""What becomes of images whose label the task does not have: the request is refused, or they count as unknown."""


class Evaluations:
    """Evaluates versions; of a query set nothing is stored.

    A query set is answered a prediction's worth of images at a time, one such part in the whole process: an
    evaluation fills neither the memory nor the engine's queue, and predictions pass between its parts.
    """

    def __init__(self, database: Database, predictions: Predictions, serving: ServingVersions, limits: Limits) -> None:
        self._versions = VersionRows(database)
        self._predictions = predictions
        self._serving = serving
        self._limits = limits
        self._turn = asyncio.Semaphore(1)

    async def evaluate(
        self,
        task_id: UUID,
        uploads: Sequence[LabelledUpload],
        *,
        deadline_s: float,
        version: int | None = None,
        unknown_labels: UnknownLabels = "refuse",
    ) -> EvaluationView:
        """Answer each image by itself with one version, and compare.

        Args:
            task_id: which task.
            uploads: the query set.
            deadline_s: of each part of it.
            version: the one that serves if it is None.
            unknown_labels: see `UnknownLabels`.

        Raises:
            TaskNotFound, VersionNotFound, TaskNotReady, BaseModelGone: there is nothing to evaluate.
            UploadRejected, RequestTooLarge, InvalidRequest: some image or label cannot be used; it names them all.
            EngineBusy, EngineNotReady, WorkerDied, DeadlineExceeded: try again later.
        """
        since = time.perf_counter()
        serving = await self._serving.get(task_id, version)
        if len(uploads) > self._limits.support_images:
            most = self._limits.support_images
            raise RequestTooLarge(f"there are {len(uploads)} images, a query set has at most {most}")
        labels = checked_labels(uploads, self._limits)
        truth = _truth(uploads, labels, serving, unknown_labels)
        answers = await self._answers(task_id, uploads, serving.number, deadline_s)
        total_ms = round((time.perf_counter() - since) * 1000, 3)
        return evaluated(task_id, serving, labels, truth, answers, {"total": total_ms})

    async def report(self, task_id: UUID, *, version: int | None = None) -> EvaluationView:
        """What the version's own report says: leave-one-out on its support set.

        Raises:
            TaskNotFound, VersionNotFound, TaskNotReady: there is nothing to evaluate.
            InvalidRequest: the version has no such report.
        """
        serving = await self._serving.get(task_id, version)
        report = (await self._versions.get(task_id, serving.number)).report
        if "expected_accuracy" not in report:
            raise InvalidRequest(
                f"version {serving.number} of task {task_id} has no leave-one-out report; send a labelled query set"
            )
        return reported(task_id, serving.number, report)

    async def _answers(
        self, task_id: UUID, uploads: Sequence[LabelledUpload], version: int, deadline_s: float
    ) -> list[ImagePrediction]:
        answers: list[ImagePrediction] = []
        rejected: list[UploadRejected] = []
        for part in _parts(uploads, self._limits.prediction_images):
            try:
                async with self._turn:
                    view = await self._predictions.predict(
                        task_id,
                        [each.upload for each in part],
                        deadline_s=deadline_s,
                        version=version,
                    )
                answers += view.predictions
            except UploadRejected as error:
                rejected.append(_at_home(error, part))
        if rejected:
            raise _joined(rejected, len(uploads))
        return answers


def _parts(uploads: Sequence[LabelledUpload], n_images: int) -> Iterator[Sequence[LabelledUpload]]:
    return (uploads[start : start + n_images] for start in range(0, len(uploads), n_images))


def _at_home(error: UploadRejected, part: Sequence[LabelledUpload]) -> UploadRejected:
    """The refusal of a prediction, whose pointers are `/files/N`, pointing to where the images stand in the request."""
    items = (replace(item, pointer=part[int(item.pointer.rpartition("/")[2])].pointer) for item in error.items)
    return UploadRejected(error.message, tuple(items), error.status)


def _joined(rejected: Sequence[UploadRejected], n_images: int) -> UploadRejected:
    """One refusal that names the bad images of every part."""
    items = tuple(item for error in rejected for item in error.items)
    statuses = {error.status for error in rejected}
    detail = items[0].detail if len(items) == 1 else f"{len(items)} of {n_images} images cannot be used"
    return UploadRejected(detail, items, statuses.pop() if len(statuses) == 1 else 422)


def _truth(
    uploads: Sequence[LabelledUpload], labels: Sequence[str], serving: ServingVersion, unknown_labels: UnknownLabels
) -> list[int]:
    """The class of each image, or UNKNOWN.

    Raises:
        UploadRejected: some labels are none of the task's, and are not to be counted as unknown.
        InvalidRequest: no label is one of the task's.
    """
    class_of = {label: index for index, label in enumerate(serving.labels)}
    truth = [class_of.get(label, UNKNOWN) for label in labels]
    strange = sorted({label for label in labels if label not in class_of})
    if strange and unknown_labels == "refuse":
        items = tuple(
            BadItem(each.pointer, "unknown-label", f"version {serving.number} has no class {label!r}", name)
            for each, label, name in zip(uploads, labels, (each.upload.filename for each in uploads), strict=True)
            if label not in class_of
        )
        refused = counted(len(items), "image")
        detail = f"{refused} with labels that version {serving.number} does not have: {_listed(strange)}"
        raise UploadRejected(f"{detail}; it has {_listed(serving.labels)}; unknown_labels=count counts them", items)
    if all(index == UNKNOWN for index in truth):
        raise InvalidRequest(f"no image has a label of version {serving.number}: it has {_listed(serving.labels)}")
    return truth


def _listed(labels: Sequence[str], most: int = 10) -> str:
    shown = ", ".join(repr(label) for label in labels[:most])
    return shown + (f" and {len(labels) - most} more" if len(labels) > most else "")
