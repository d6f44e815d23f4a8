"""The same worker in a thread of this process, for tests and notebooks.

It imports torch, shares the interpreter with its caller, and a crash of the device takes the caller along; the
service itself uses `process`.
"""

import asyncio
import dataclasses
import logging
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal, cast

from service.artifacts import FileArtifacts
from service.engine.admission import Admission
from service.engine.base import (
    AdaptRequest,
    AdaptResult,
    Directions,
    DirectionsRequest,
    EngineStats,
    PredictRequest,
    Probabilities,
    Similarities,
    SimilarityRequest,
    Tell,
)
from service.engine.batching import Entry, Request, Scheduler
from service.engine.calls import Calls
from service.engine.messages import Answer, Counters, WorkerOptions
from service.engine.serving import Serving
from service.engine.worker import Worker, use_threads
from service.errors import EngineNotReady, WorkerDied

_FINISH_S = 20.0

_log = logging.getLogger(__name__)


class InlineEngine:
    """An `Engine` whose worker is a thread.

    Args:
        base_model_files: the checkpoints to load.
        artifacts_root: folder of the artifacts.
        device: auto, cpu or cuda.
        cache_bytes: bound of the task parameters kept in memory.
        queue_items: most adaptations, and most images of predictions, that wait or run.
        threads: CPU threads of torch in this process; None leaves them as they are.
    """

    def __init__(
        self,
        *,
        base_model_files: Sequence[Path],
        artifacts_root: Path,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        cache_bytes: int = 256 * 2**20,
        queue_items: int = 256,
        threads: int | None = None,
    ) -> None:
        files = tuple(str(path) for path in base_model_files)
        self._options = WorkerOptions(files, str(artifacts_root), device, cache_bytes, threads)
        self._admission = Admission(queue_items=queue_items)
        self._scheduler = Scheduler()
        self._calls = Calls(withdraw=self._scheduler.cancel)
        self._worker: Worker | None = None
        self._thread: threading.Thread | None = None
        self._state: Literal["starting", "ready", "stopped"] = "stopped"
        self._counters = Counters()

    async def start(self) -> None:
        """Load the base models, warm up, start the thread; what is asked meanwhile waits for it."""
        self._state = "starting"
        self._scheduler = Scheduler()
        self._calls = Calls(withdraw=self._scheduler.cancel)
        self._admission.is_open = True
        try:
            worker = self._worker = await asyncio.to_thread(self._warm_worker)
        except BaseException:
            self._state = "stopped"
            self._admission.is_open = False
            self._calls.fail(EngineNotReady("the engine is not running"))
            raise
        self._scheduler.batch_rows = worker.rows_a_pass
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._serve, args=(worker, loop), name="engine", daemon=True)
        self._thread.start()
        self._state = "ready"

    async def stop(self) -> None:
        """Let what is in flight finish or fail within a bounded time, then end the thread."""
        self._state = "stopped"
        self._admission.is_open = False
        await self._calls.drained(_FINISH_S)
        self._scheduler.close()
        self._calls.fail(WorkerDied("the engine was stopped"))
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, _FINISH_S)

    def reserve(self) -> AbstractContextManager[None]:
        """A place in the bounded queue for one adaptation, given back at exit."""
        return self._admission.adaptation()

    async def adapt(self, request: AdaptRequest, *, tell: Tell | None = None) -> AdaptResult:
        """Adapt and store a task model; the caller holds a place from `reserve`."""
        return cast("AdaptResult", await self._ask(request, tell=tell))

    async def predict(self, request: PredictRequest, *, deadline_s: float) -> Probabilities:
        """Class probabilities of each image."""
        with self._admission.prediction(len(request.pixels)):
            return cast("Probabilities", await self._ask(request, deadline_s))

    async def similarities(self, request: SimilarityRequest, *, deadline_s: float) -> Similarities:
        """Cosine of the features of each image and each example."""
        with self._admission.prediction(len(request.pixels)):
            return cast("Similarities", await self._ask(request, deadline_s))

    async def directions(self, request: DirectionsRequest, *, deadline_s: float) -> Directions:
        """Features divided by their lengths."""
        with self._admission.prediction(len(request.pixels)):
            return cast("Directions", await self._ask(request, deadline_s))

    def stats(self) -> EngineStats:
        """A snapshot, as of the worker's latest answer."""
        worker = self._worker
        return EngineStats(
            state=self._state,
            device=worker.device_name if worker else "unknown",
            queue_items=self._admission.items,
            base_models=worker.base_models if worker else (),
            **dataclasses.asdict(self._counters),
        )

    async def _ask(
        self, request: Request, deadline_s: float | None = None, *, tell: Tell | None = None
    ) -> Probabilities | AdaptResult:
        if not self._admission.is_open:
            raise EngineNotReady("the engine is not running")
        expires_at = float("inf") if deadline_s is None else self._scheduler.clock() + deadline_s

        async def send(number: int) -> None:
            self._scheduler.submit(Entry(number, request, expires_at))

        return await self._calls.ask(send, deadline_s=deadline_s, tell=tell)

    def _warm_worker(self) -> Worker:
        if self._options.threads is not None:
            use_threads(self._options.threads)
        worker = Worker(self._options, store=FileArtifacts(Path(self._options.artifacts_root)))
        worker.warm_up()
        return worker

    def _serve(self, worker: Worker, loop: asyncio.AbstractEventLoop) -> None:
        def reply(answers: Sequence[Answer], counters: Counters) -> None:
            loop.call_soon_threadsafe(self._settle, answers, counters)

        def tell(number: int, share: float) -> None:
            loop.call_soon_threadsafe(self._calls.tell, number, share)

        try:
            Serving(worker, self._scheduler, reply=reply, progress=lambda: None, tell=tell).run()
        except Exception:  # noqa: BLE001  # whatever it is, it is logged and every caller is told
            _log.critical("the worker ends because of an error it cannot recover from", exc_info=True)
            loop.call_soon_threadsafe(self._lose)

    def _settle(self, answers: Sequence[Answer], counters: Counters) -> None:
        self._counters = counters
        self._calls.settle(answers)

    def _lose(self) -> None:
        self._state = "stopped"
        self._admission.is_open = False
        self._calls.fail(WorkerDied("the device was lost; start the engine again"))
