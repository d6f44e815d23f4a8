"""Predictions: images in, labels and probabilities out."""

from collections.abc import Sequence
from uuid import UUID

from service.engine.base import Engine
from service.usecases.base_models import BaseModels
from service.usecases.decoding import Decoder
from service.usecases.serving import ServingVersions
from service.usecases.uploads import Upload
from service.usecases.views import PredictionView


class Predictions:
    """The use case of a task that is ready."""

    def __init__(self, engine: Engine, base_models: BaseModels, decoder: Decoder, serving: ServingVersions) -> None:
        raise NotImplementedError

    async def predict(
        self,
        task_id: UUID,
        uploads: Sequence[Upload],
        *,
        deadline_s: float,
        version: int | None = None,
        top_k: int | None = None,
    ) -> PredictionView:
        """Label images with one version of a task, by default the one that serves.

        Raises:
            TaskNotFound, VersionNotFound: there is no such task or version.
            TaskNotReady: no version, or not this one, can answer yet.
            BaseModelGone: the version's base model is not loaded.
            UploadRejected, RequestTooLarge: some image cannot be used.
            EngineBusy, EngineNotReady, WorkerDied, DeadlineExceeded: try again later.
        """
        raise NotImplementedError
