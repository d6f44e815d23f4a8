"""What to label next: a pool of unlabelled images, ranked for one task; nothing of the pool is stored."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np

from service.engine.base import Directions, DirectionsRequest, Engine, FeatureRow, Pixels, PredictRequest, Probabilities
from service.errors import InvalidRequest, RequestTooLarge
from service.persistence.database import Database
from service.persistence.examples import ExampleRows
from service.persistence.records import TaskSnapshot
from service.persistence.tasks import TaskRows
from service.telemetry import current_request_id
from service.usecases.base_models import BaseModelCard, BaseModels
from service.usecases.decoding import Decoder, Source
from service.usecases.plans import candidates, chosen_base_model
from service.usecases.serving import ServingVersion, ServingVersions
from service.usecases.suggesting import Choice, typical, uncertain
from service.usecases.supports import stacked
from service.usecases.uploads import Upload
from service.usecases.views import SuggestedImage, SuggestionView

MANY_LABELS = 5
"""Examples a class from which on the task itself is asked what it is unsure of.

On photographs (`tests/benchmarks/suggest.py`) typical images are the better choice up to 4 a class (81.9 against
80.7 %), unsure ones from 6 on (85.9 against 85.2 %).
"""


@dataclass(frozen=True, slots=True, eq=False)
class _Pool:
    card: BaseModelCard
    pixels: Pixels


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    directions: Directions
    probabilities: Probabilities | None


@dataclass(slots=True)
class PoolCount:
    """How far a pool is: of so many images, how many are decoded, and how many of them went through the network."""

    of: int
    read: int = 0
    seen: int = 0

    def count_read(self) -> None:
        """One more is decoded."""
        self.read += 1


class Suggestions:
    """The use case of somebody who has more images than labels; one pool at a time, which bounds memory."""

    def __init__(
        self, database: Database, engine: Engine, base_models: BaseModels, decoder: Decoder, serving: ServingVersions
    ) -> None:
        self._tasks = TaskRows(database)
        self._examples = ExampleRows(database)
        self._engine = engine
        self._base_models = base_models
        self._decoder = decoder
        self._serving = serving
        self._turn = asyncio.Semaphore(1)

    async def suggest(
        self,
        task_id: UUID,
        uploads: Sequence[Upload],
        *,
        n_wanted: int,
        deadline_s: float,
        count: PoolCount | None = None,
    ) -> SuggestionView:
        """The images of a pool that are best labelled next, the first first.

        Args:
            task_id: which task; it may be without a version.
            uploads: the pool.
            n_wanted: how many to suggest, at most.
            deadline_s: of each part of the work.
            count: goes up while this works.

        Raises:
            TaskNotFound: there is no such task.
            BaseModelGone, UnknownBaseModel: its base model is not loaded.
            UploadRejected, RequestTooLarge, InvalidRequest: some image cannot be used; it names them all.
            EngineBusy, EngineNotReady, WorkerDied, DeadlineExceeded: try again later.
        """
        self._check_number(uploads)
        count = count or PoolCount(len(uploads))
        task = await self._tasks.get(task_id)
        serving = None if task.row.current_version is None else await self._serving.get(task_id, None)
        async with self._turn:
            pool = await self._decoded(uploads, task.row.base_model, serving, count)
            stored = await self._examples.features(task_id, pool.card.digest)
            labelled = [FeatureRow(digest, row) for digest, row in stored]
            is_asked = serving is not None and len(labelled) >= MANY_LABELS * len(serving.labels)
            seen = await self._seen(pool, labelled, serving if is_asked else None, deadline_s, count)
            examples, unlabelled = seen.directions[: len(labelled)], seen.directions[len(labelled) :]
            if seen.probabilities is not None:
                choices = await asyncio.to_thread(uncertain, unlabelled, seen.probabilities, n_wanted)
            else:
                choices = await asyncio.to_thread(typical, unlabelled, examples, n_wanted)
        return SuggestionView(task_id, tuple(_suggested(choice, uploads[choice.index]) for choice in choices))

    def _check_number(self, uploads: Sequence[Upload]) -> None:
        most = self._decoder.limits.support_images
        if not uploads:
            raise InvalidRequest("there is no image to choose from; send some")
        if len(uploads) > most:
            raise RequestTooLarge(f"there are {len(uploads)} images, at most {most} are allowed in a pool")

    async def _decoded(
        self, uploads: Sequence[Upload], base_model: str | None, serving: ServingVersion | None, count: PoolCount
    ) -> _Pool:
        """The pool as the base model takes it that the task has, or would get for images like these."""
        loaded = None if serving is None else self._base_models.by_digest(serving.base_model_digest)
        cards = (loaded,) if loaded is not None else candidates(base_model, self._base_models)
        sources = [Source(upload, f"/files/{index}") for index, upload in enumerate(uploads)]
        formats = [card.header.input for card in cards]
        self._decoder.checked_bytes(len(uploads), formats)
        decoded = await self._decoder.decode(sources, formats, tell=count.count_read)
        looks_drawn = tuple(image.looks_drawn for image in decoded)
        snapshot = TaskSnapshot(base_model, None, None, (), looks_drawn)
        card = loaded or chosen_base_model(snapshot, self._base_models)[0]
        position = [each.digest for each in cards].index(card.digest)
        return _Pool(card, stacked([image.arrays[position] for image in decoded], card.header.input))

    async def _seen(
        self,
        pool: _Pool,
        labelled: Sequence[FeatureRow],
        asked: ServingVersion | None,
        deadline_s: float,
        count: PoolCount,
    ) -> _Seen:
        """The directions of the examples, then of the pool; and where a version is asked, what it says of the pool."""
        stored, directions, probabilities = tuple(labelled), [], []
        for pixels in self._parts(pool.pixels):
            request = DirectionsRequest(pool.card.digest, stored, pixels, current_request_id())
            directions.append(await self._engine.directions(request, deadline_s=deadline_s))
            stored = ()  # they go with the first part
            if asked is not None:
                question = PredictRequest(asked.base_model_digest, asked.artifact, pixels, current_request_id())
                probabilities.append(await self._engine.predict(question, deadline_s=deadline_s))
            count.seen += len(pixels)
        return _Seen(np.concatenate(directions), np.concatenate(probabilities) if probabilities else None)

    def _parts(self, pixels: Pixels) -> list[Pixels]:
        size = self._decoder.limits.prediction_images
        return [pixels[start : start + size] for start in range(0, len(pixels), size)]


def _suggested(choice: Choice, upload: Upload) -> SuggestedImage:
    if choice.margin is not None:
        detail = f"the two most probable classes are {choice.margin:.0%} apart"
        return SuggestedImage(choice.index, upload.filename, "uncertain", detail, choice.n_alike)
    others = {0: "no labelled image is", 1: "one labelled image is"}.get(
        choice.n_labelled, f"{choice.n_labelled} labelled images are"
    )
    alike = "like no other of these images" if choice.n_alike == 1 else f"typical of {choice.n_alike} that are alike"
    detail = f"{alike}; {others} like {'it' if choice.n_alike == 1 else 'them'}"
    return SuggestedImage(choice.index, upload.filename, "typical", detail, choice.n_alike)
