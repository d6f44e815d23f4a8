"""The owner of the device: base models, the cache of task parameters, the artifacts. No queue, no socket.

One thread calls it. Whoever does decides what runs when (`serving`); this file decides how.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from service import telemetry
from service.artifacts import ArtifactStore
from service.engine.adaptation import Adaptation, Adapted
from service.engine.base import (
    AdaptRequest,
    AdaptResult,
    Directions,
    DirectionsRequest,
    Pixels,
    PredictRequest,
    Probabilities,
    Similarities,
    SimilarityRequest,
    Tell,
    untold,
)
from service.engine.cache import ByteCache
from service.engine.cpus import usable_cpus
from service.engine.failures import as_service_error, is_fatal, is_out_of_memory
from service.engine.inference import Inference, Question
from service.engine.messages import Counters, WorkerOptions
from service.engine.pacing import MOST_ROWS, paced
from service.engine.similarity import directions, gathered_directions, similarities
from service.errors import BaseModelGone, ConfigurationError, InvalidRequest, ServiceError
from service.metalearning.learners.base import Pause, TaskParameters, no_pause
from service.metalearning.serialization import BaseModel, load_base_model, task_from_bytes, task_to_bytes

_log = logging.getLogger(__name__)


class Worker:
    """Adapts and predicts with the base models it was given.

    Args:
        options: which base models, which device, how much memory.
        store: where task models and features are kept.

    Raises:
        SetupError: the device or a base model cannot be used.
    """

    def __init__(self, options: WorkerOptions, *, store: ArtifactStore) -> None:
        self._device = _chosen_device(options.device)
        self._store = store
        models = [load_base_model(Path(path)) for path in options.base_model_files]
        self._models = {model.digest: self._on_device(model) for model in models}
        self._cache: ByteCache[TaskParameters] = ByteCache(max_bytes=options.cache_bytes, size_of=_size_bytes)
        self._batches = self._batch_rows_run = self._adaptations = 0

    @property
    def device_name(self) -> str:
        """The device in words, for logs and metrics."""
        if self._device.type == "cuda":
            return f"cuda: {torch.cuda.get_device_name(self._device)}"
        return f"cpu: {torch.get_num_threads()} threads"

    @property
    def base_models(self) -> tuple[str, ...]:
        """Digests of the loaded base models."""
        return tuple(self._models)

    def rows_a_pass(self, base_model: str) -> int:
        """Most images of this base model that go through the network at once; 1 if it is not loaded."""
        adaptation = self._models.get(base_model)
        return adaptation.inference.rows_a_pass if adaptation else 1

    def warm_up(self, *, progress: Callable[[], None] = no_pause) -> None:
        """Adapt and predict once with each base model, so that no client pays for first-time work; stores nothing.

        What an image costs here and now says how many go through a network in a pass: no longer than `pacing.PASS_S`.
        """
        for digest, adaptation in list(self._models.items()):
            since = time.perf_counter()
            header = adaptation.base_model.header
            pixels = np.zeros((2, header.input.channels, header.input.side_px, header.input.side_px), np.uint8)
            request = AdaptRequest(digest, header.default_learner, {}, (0, 1), (None, None), pixels)
            task = adaptation.run(request, pause=progress).task
            adaptation.inference.probabilities([Question(task, pixels[:1])])
            progress()
            inference = paced(adaptation.inference, Question(task, pixels))
            self._models[digest] = replace(adaptation, inference=inference)
            progress()
            warm_s = time.perf_counter() - since
            _log.info("base model %s is warm after %.1f s: %d images a pass", header.id, warm_s, inference.rows_a_pass)

    def adapt(self, request: AdaptRequest, *, pause: Pause = no_pause, tell: Tell = untold) -> AdaptResult:
        """Adapt, store and cache a task model; the timing `queue` is left to the caller.

        Raises:
            ServiceError: as `Engine.adapt` says.
        """
        adaptation = self._adaptation(request.base_model)
        _check_pixels(adaptation.base_model, request.pixels)
        adapted = self._run(adaptation, request, pause, tell)
        since = time.perf_counter()
        metadata = {"base_model": request.base_model, "learner": request.learner}
        data = task_to_bytes({name: tensor.cpu() for name, tensor in adapted.task.items()}, metadata)
        artifact, *features = self._store.put_many([data] if adapted.features is None else [data, adapted.features])
        # Taken from the bytes, so that an answer is the same before and after the cache forgot the task.
        self._cache.put(artifact, self._parsed(data))
        self._adaptations += 1
        store_ms = round((time.perf_counter() - since) * 1000, 3)
        return AdaptResult(
            artifact=artifact,
            n_bytes=len(data),
            features=features[0] if features else None,
            report=adapted.report,
            timings_ms=adapted.timings_ms | {"store": store_ms},
        )

    def answer_batch(
        self, requests: Sequence[PredictRequest | SimilarityRequest | DirectionsRequest], *, pause: Pause = no_pause
    ) -> list[Probabilities | Similarities | Directions | ServiceError]:
        """As `predict_batch`, for requests of every kind."""
        predictions = [request for request in requests if isinstance(request, PredictRequest)]
        answers = iter(self.predict_batch(predictions, pause=pause))
        return [next(answers) if isinstance(each, PredictRequest) else self._compared(each, pause) for each in requests]

    def predict_batch(
        self, requests: Sequence[PredictRequest], *, pause: Pause = no_pause
    ) -> list[Probabilities | ServiceError]:
        """The answer to each request, or what is wrong with it; one that fails does not touch the others.

        Args:
            requests: of any base models and tasks.
            pause: called between passes.
        """
        outcomes: dict[int, Probabilities | ServiceError] = {}
        questions: dict[str, dict[int, Question]] = {}
        for index, request in enumerate(requests):
            try:
                question = self._question(request)
            except Exception as error:
                if is_fatal(error):
                    raise
                outcomes[index] = as_service_error(error)
            else:
                questions.setdefault(request.base_model, {})[index] = question
        for base_model, group in questions.items():
            inference = replace(self._models[base_model].inference, pause=pause)
            answers = self._answers(inference, list(group.values()))
            outcomes |= zip(group, answers, strict=True)
        return [outcomes[index] for index in range(len(requests))]

    def counters(self) -> Counters:
        """What was done since the start, and what the cache holds."""
        cache = self._cache.counts()
        return Counters(
            cache_bytes=cache.n_bytes,
            cache_items=cache.items,
            cache_hits=cache.hits,
            cache_misses=cache.misses,
            batches=self._batches,
            batch_rows=self._batch_rows_run,
            adaptations=self._adaptations,
        )

    def _on_device(self, model: BaseModel) -> Adaptation:
        network = model.network.to(self._device).eval()
        inference = Inference(network, model.header.scaling, self._device, MOST_ROWS[self._device.type])
        return Adaptation(model, inference, self._store)

    def _adaptation(self, digest: str) -> Adaptation:
        try:
            return self._models[digest]
        except KeyError:
            raise BaseModelGone(f"base model {digest} is not loaded; adapt the task to one that is") from None

    def _run(self, adaptation: Adaptation, request: AdaptRequest, pause: Pause, tell: Tell) -> Adapted:
        """Adapt, a second time with an empty cache if the memory runs out."""
        for _ in range(2):
            try:
                return adaptation.run(request, pause=pause, tell=tell)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._make_room()
        raise ServiceError("the device has too little memory for this support set; send fewer images")

    def _question(self, request: PredictRequest) -> Question:
        adaptation = self._adaptation(request.base_model)
        _check_pixels(adaptation.base_model, request.pixels)
        task = self._cache.get(request.artifact, lambda: self._parsed(self._store.get(request.artifact)))
        return Question(task, request.pixels, request.request_id)

    def _compared(
        self, request: SimilarityRequest | DirectionsRequest, pause: Pause
    ) -> Similarities | Directions | ServiceError:
        """The answer, or what is wrong with the request."""
        token = telemetry.set_request_id(request.request_id)
        try:
            adaptation = self._adaptation(request.base_model)
            _check_pixels(adaptation.base_model, request.pixels)
            tables = partial(self._directions, adaptation=adaptation)
            inference = replace(adaptation.inference, pause=pause)
            if isinstance(request, DirectionsRequest):
                return gathered_directions(request, inference, tables)
            return similarities(request, inference, tables)
        except Exception as error:
            if is_fatal(error):
                raise
            return as_service_error(error)
        finally:
            telemetry.reset_request_id(token)

    def _directions(self, digest: str, adaptation: Adaptation) -> torch.Tensor:
        """The directions of stored features, which share the cache with task parameters."""

        def load() -> TaskParameters:
            return {"directions": directions(self._store.get(digest), adaptation.base_model.header).to(self._device)}

        return self._cache.get(f"directions of {digest}", load)["directions"]

    def _parsed(self, data: bytes) -> TaskParameters:
        return {name: tensor.to(self._device) for name, tensor in task_from_bytes(data).items()}

    def _answers(self, inference: Inference, questions: list[Question]) -> list[Probabilities | ServiceError]:
        """One pass for all; if that fails, one for each half, until only what fails by itself has failed."""
        try:
            answers = inference.probabilities(questions)
        except Exception as error:
            if is_fatal(error):
                raise
            failure = error
        else:
            self._batches += 1
            self._batch_rows_run += sum(len(question.pixels) for question in questions)
            return list(answers)
        is_full = is_out_of_memory(failure)
        if is_full:
            self._make_room()
        if len(questions) > 1:
            middle = len(questions) // 2
            return self._answers(inference, questions[:middle]) + self._answers(inference, questions[middle:])
        if is_full and inference.rows_a_pass > 1:
            return self._answers(replace(inference, rows_a_pass=inference.rows_a_pass // 2), questions)
        token = telemetry.set_request_id(questions[0].request_id)
        try:
            return [as_service_error(failure)]
        finally:
            telemetry.reset_request_id(token)

    def _make_room(self) -> None:
        self._cache.clear()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def use_threads(threads: int | None) -> None:
    """Set the number of CPU threads of this process; None follows its quota."""
    torch.set_num_threads(threads or usable_cpus())


def _chosen_device(name: str) -> torch.device:
    if name not in ("auto", "cpu", "cuda"):
        raise ConfigurationError(f"device is {name!r}, expected auto, cpu or cuda")
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigurationError("device is cuda, but torch finds no CUDA card here; set it to auto or cpu")
    # TF32, the default of convolutions, would round to ten bits, and figures were measured without it.
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda")


def _check_pixels(model: BaseModel, pixels: Pixels) -> None:
    expected = model.header.input
    shape = (expected.channels, expected.side_px, expected.side_px)
    if pixels.dtype != np.uint8 or pixels.shape[1:] != shape:
        raise InvalidRequest(f"images are {pixels.dtype} {pixels.shape[1:]}, {model.header.id} takes uint8 {shape}")


def _size_bytes(task: TaskParameters) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in task.values())
