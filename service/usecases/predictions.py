"""Predictions: images in, labels and probabilities out."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from service.engine.base import Engine, PredictRequest
from service.errors import BaseModelGone, DeadlineExceeded, InvalidRequest, RequestTooLarge
from service.telemetry import current_request_id
from service.usecases.base_models import BaseModelCard, BaseModels
from service.usecases.decoding import Decoder, Source
from service.usecases.nearest import NearestExamples
from service.usecases.serving import ServingVersion, ServingVersions
from service.usecases.uploads import Upload
from service.usecases.views import ImagePrediction, NearestView, PredictionView, ScoreView


class Predictions:
    """The use case of a task that is ready."""

    def __init__(
        self,
        engine: Engine,
        base_models: BaseModels,
        decoder: Decoder,
        serving: ServingVersions,
        nearest: NearestExamples,
    ) -> None:
        self._engine = engine
        self._base_models = base_models
        self._decoder = decoder
        self._serving = serving
        self._nearest = nearest

    async def predict(
        self,
        task_id: UUID,
        uploads: Sequence[Upload],
        *,
        deadline_s: float,
        version: int | None = None,
        top_k: int | None = None,
        nearest: int | None = None,
    ) -> PredictionView:
        """Label images with one version of a task, by default the one that serves.

        Args:
            task_id: which task.
            uploads: the images.
            deadline_s: longest time it may take.
            version: another version than the one that serves.
            top_k: only the best scores.
            nearest: how many of the version's own examples to name beside each answer.

        Raises:
            TaskNotFound, VersionNotFound: there is no such task or version.
            TaskNotReady: no version, or not this one, can answer yet.
            BaseModelGone: the version's base model is not loaded.
            UploadRejected, RequestTooLarge: some image cannot be used.
            EngineBusy, EngineNotReady, WorkerDied, DeadlineExceeded: try again later.
        """
        self._check_number(uploads)
        watch = _Watch(deadline_s)
        try:
            async with asyncio.timeout(deadline_s):
                serving = await self._serving.get(task_id, version)
                card = self._base_model(serving)
                async with self._decoder.room(len(uploads), [card.header.input], for_prediction=True):
                    pixels = await self._pixels(uploads, card)
                    watch.lap("decode")
                    probabilities = await self._probabilities(serving, pixels, watch)
                    found = await self._found(task_id, serving, pixels, n_nearest=nearest, watch=watch)
        except TimeoutError:
            raise DeadlineExceeded(f"there was no answer within {deadline_s:g} s") from None
        answers = zip(uploads, probabilities, found, strict=True)
        predictions = tuple(
            replace(_prediction(upload.filename, row, serving, top_k), nearest=best) for upload, row, best in answers
        )
        return PredictionView(task_id, serving.number, predictions, watch.timings_ms())

    async def _probabilities(
        self, serving: ServingVersion, pixels: NDArray[np.uint8], watch: "_Watch"
    ) -> NDArray[np.float32]:
        request = PredictRequest(serving.base_model_digest, serving.artifact, pixels, current_request_id())
        probabilities = await self._engine.predict(request, deadline_s=watch.left_s())
        watch.lap("engine")
        return probabilities

    async def _found(
        self,
        task_id: UUID,
        serving: ServingVersion,
        pixels: NDArray[np.uint8],
        *,
        n_nearest: int | None,
        watch: "_Watch",
    ) -> Sequence[tuple[NearestView, ...] | None]:
        """The nearest examples of each image; None where they were not asked for."""
        if n_nearest is None:
            return [None] * len(pixels)
        found = await self._nearest.find(task_id, serving, pixels, n_nearest=n_nearest, deadline_s=watch.left_s())
        watch.lap("nearest")
        return found

    def _check_number(self, uploads: Sequence[Upload]) -> None:
        most = self._decoder.limits.prediction_images
        if not uploads:
            raise InvalidRequest("there is no image to predict; send at least one")
        if len(uploads) > most:
            raise RequestTooLarge(f"there are {len(uploads)} images, at most {most} are allowed in a prediction")

    def _base_model(self, serving: ServingVersion) -> BaseModelCard:
        card = self._base_models.by_digest(serving.base_model_digest)
        if card is None:
            raise BaseModelGone(
                f"version {serving.number} was adapted from base model {serving.base_model_digest}, "
                "which is not loaded; adapt the task again"
            )
        return card

    async def _pixels(self, uploads: Sequence[Upload], card: BaseModelCard) -> NDArray[np.uint8]:
        sources = [Source(upload, f"/files/{index}") for index, upload in enumerate(uploads)]
        decoded = await self._decoder.decode(sources, [card.header.input])
        return np.stack([image.arrays[0] for image in decoded])


class _Watch:
    """Times the parts of one prediction."""

    def __init__(self, deadline_s: float) -> None:
        self._started = self._lapped = time.perf_counter()
        self._deadline_s = deadline_s
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """End the part that has this name."""
        lapped = time.perf_counter()
        self._laps[name] = round((lapped - self._lapped) * 1000, 3)
        self._lapped = lapped

    def left_s(self) -> float:
        """Seconds until the deadline."""
        return max(0.0, self._started + self._deadline_s - time.perf_counter())

    def timings_ms(self) -> dict[str, float]:
        """The parts and their total, in milliseconds."""
        return {**self._laps, "total": round((time.perf_counter() - self._started) * 1000, 3)}


def _prediction(
    filename: str | None, probabilities: NDArray[np.float32], serving: ServingVersion, top_k: int | None
) -> ImagePrediction:
    """The answer for one image; `probabilities` may have the unknown score behind those of the classes."""
    probabilities, beside = np.split(probabilities, [len(serving.labels)])
    unknown = float(beside[0]) if len(beside) else None
    order = np.argsort(-probabilities, kind="stable")[:top_k]
    scores = tuple(ScoreView(serving.labels[index], float(probabilities[index])) for index in order)
    is_below = serving.threshold is not None and scores[0].probability < serving.threshold
    limit = serving.unknown_threshold
    return ImagePrediction(
        filename=filename,
        label=scores[0].label,
        probability=scores[0].probability,
        scores=scores,
        below_threshold=is_below,
        unknown=unknown,
        is_unknown=unknown is not None and limit is not None and unknown >= limit,
    )
