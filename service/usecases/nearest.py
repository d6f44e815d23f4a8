"""Which of a version's own examples an image is most like."""

from collections.abc import Sequence
from uuid import UUID

import numpy as np

from service.engine.base import Engine, FeatureRow, Pixels, Similarities, SimilarityRequest
from service.errors import InvalidOption
from service.persistence.database import Database
from service.persistence.examples import ExampleRows
from service.persistence.records import SupportRow
from service.persistence.versions import VersionRows
from service.telemetry import current_request_id
from service.usecases.serving import ServingVersion
from service.usecases.views import NearestView


class NearestExamples:
    """Compares images with the stored features of support sets, under the base model, whatever the learner."""

    def __init__(self, database: Database, engine: Engine) -> None:
        self._versions = VersionRows(database)
        self._examples = ExampleRows(database)
        self._engine = engine

    async def find(
        self, task_id: UUID, serving: ServingVersion, pixels: Pixels, *, n_nearest: int, deadline_s: float
    ) -> list[tuple[NearestView, ...]]:
        """For each image the most similar examples, best first; those that were removed since are left out.

        Raises:
            InvalidOption: the examples have no stored features.
            EngineBusy, EngineNotReady, WorkerDied, DeadlineExceeded: try again later.
        """
        version = await self._versions.get(task_id, serving.number)
        rows = await self._versions.support(version)
        stored = [row for row in rows if row.features is not None]
        if len(stored) < len(rows):
            await self._check_removed(task_id, serving, [row.example_id for row in rows if row.features is None])
        if not stored:
            return [() for _ in pixels]
        support = tuple(FeatureRow(*row.features) for row in stored if row.features is not None)
        request = SimilarityRequest(serving.base_model_digest, support, pixels, current_request_id())
        found = await self._engine.similarities(request, deadline_s=deadline_s)
        return _nearest(found, stored, serving.labels, n_nearest)

    async def _check_removed(self, task_id: UUID, serving: ServingVersion, example_ids: Sequence[UUID]) -> None:
        """Return if the task has none of these examples any more."""
        if await self._examples.some(task_id, example_ids):
            raise InvalidOption(
                f"version {serving.number} has examples without stored features, so that none can be said to be "
                "nearest: its learner adapts the whole network; ask a version of a learner that adapts the head"
            )


def _nearest(
    found: Similarities, rows: Sequence[SupportRow], labels: Sequence[str], n_nearest: int
) -> list[tuple[NearestView, ...]]:
    order = np.argsort(-found, axis=1, kind="stable")[:, :n_nearest]
    return [
        tuple(NearestView(rows[i].example_id, labels[rows[i].label], float(of_image[i])) for i in best)
        for of_image, best in zip(found, order, strict=True)
    ]
