"""The default engine: one supervised worker process that owns the device.

Why a process: the API process never imports torch nor makes a CUDA context, a worker that crashes or is killed for
its memory takes no request down that does not need it, and adaptations do not share an interpreter with HTTP.
"""

import asyncio
import dataclasses
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

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
from service.engine.cpus import used_cpu_s
from service.engine.messages import Counters, WorkerOptions
from service.engine.patience import Patience
from service.engine.vigil import Vigil
from service.engine.worker_process import WorkerProcess
from service.errors import EngineNotReady, SetupError, WorkerDied
from service.telemetry import log_failure

_ADAPTATIONS_SENT = 2
"""Adaptations that the worker has at a time: one that runs and the one that follows. The others wait on this side, so
that their pixels do not fill the memory of both processes, and a worker that dies takes only these along."""

_Answer = TypeVar("_Answer")
_Read: TypeAlias = Callable[[WorkerProcess, float], Awaitable[_Answer]]
"""Asks a worker within so many seconds."""

_log = logging.getLogger(__name__)


class ProcessEngine:
    """An `Engine` whose worker is a process of its own; it is started again when it dies.

    Args:
        base_model_files: the checkpoints to load.
        artifacts_root: folder of the artifacts.
        device: auto, cpu or cuda.
        cache_bytes: bound of the task parameters in the worker's memory.
        queue_items: most adaptations, and most images of predictions, that wait or run.
        threads: CPU threads of the worker; None follows the quota.
        log_format: form of the worker's log lines on standard error.
        patience: how long it waits for what.
    """

    def __init__(  # noqa: PLR0913  # flat arguments: each is one setting of the service
        self,
        *,
        base_model_files: Sequence[Path],
        artifacts_root: Path,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        cache_bytes: int = 256 * 2**20,
        queue_items: int = 256,
        threads: int | None = None,
        log_format: Literal["text", "json"] = "text",
        patience: Patience | None = None,
    ) -> None:
        files = tuple(str(path.absolute()) for path in base_model_files)
        self._options = WorkerOptions(files, str(artifacts_root.absolute()), device, cache_bytes, threads, log_format)
        self._patience = patience or Patience()
        self._admission = Admission(queue_items=queue_items)
        self._state: Literal["starting", "ready", "restarting", "stopped"] = "stopped"
        self._worker: WorkerProcess | None = None
        self._available = asyncio.Event()
        self._supervision: asyncio.Task[None] | None = None
        self._turn = asyncio.Semaphore(_ADAPTATIONS_SENT)
        self._restarts = 0
        self._device = "unknown"
        self._past = Counters()

    @property
    def worker_pid(self) -> int | None:
        """The id of the worker process; None while there is none."""
        return self._worker.pid if self._worker else None

    async def start(self) -> None:
        """Start the worker and return once it is warm and ready; what is asked meanwhile waits for it."""
        self._state = "starting"
        self._admission.is_open = True
        try:
            worker = await self._first_launched()
        except WorkerDied as error:
            self._close()
            raise SetupError(error.message) from error
        except BaseException:
            self._close()
            raise
        self._use(worker)
        self._supervision = asyncio.create_task(self._supervise(worker), name="engine-supervision")

    async def stop(self) -> None:
        """Let what is in flight finish or fail within a bounded time, then end the worker."""
        self._close()
        if self._supervision is not None:
            self._supervision.cancel()
            await asyncio.gather(self._supervision, return_exceptions=True)
        if self._worker is not None:
            if not await self._worker.calls.drained(self._patience.finish_s):
                _log.warning("the engine stops although %d requests are in flight", len(self._worker.calls))
            await self._worker.close(timeout_s=self._patience.end_s)
            self._worker = None

    def reserve(self) -> AbstractContextManager[None]:
        """A place in the bounded queue for one adaptation, given back at exit."""
        return self._admission.adaptation()

    async def adapt(self, request: AdaptRequest, *, tell: Tell | None = None) -> AdaptResult:
        """Adapt and store a task model; the caller holds a place from `reserve`."""
        since = time.perf_counter()
        async with self._turn:
            if not self._admission.is_open:
                raise EngineNotReady("the engine is not running")
            waited_ms = (time.perf_counter() - since) * 1000
            worker = await self._ready_worker(None)
            result = await worker.adapt(request, tell=tell)
        queue_ms = round(waited_ms + result.timings_ms["queue"], 3)
        return dataclasses.replace(result, timings_ms={**result.timings_ms, "queue": queue_ms})

    async def predict(self, request: PredictRequest, *, deadline_s: float) -> Probabilities:
        """Class probabilities of each image; sent once more, within its deadline, if the worker dies meanwhile."""
        return await self._read(
            len(request.pixels), deadline_s, lambda worker, left_s: worker.predict(request, deadline_s=left_s)
        )

    async def similarities(self, request: SimilarityRequest, *, deadline_s: float) -> Similarities:
        """Cosine of the features of each image and each example; repeated as a prediction is."""
        return await self._read(
            len(request.pixels), deadline_s, lambda worker, left_s: worker.similarities(request, deadline_s=left_s)
        )

    async def directions(self, request: DirectionsRequest, *, deadline_s: float) -> Directions:
        """Features divided by their lengths; repeated as a prediction is."""
        return await self._read(
            len(request.pixels), deadline_s, lambda worker, left_s: worker.directions(request, deadline_s=left_s)
        )

    def stats(self) -> EngineStats:
        """A snapshot, as of the worker's latest answer."""
        worker = self._worker
        return EngineStats(
            state=self._state,
            device=self._device,
            queue_items=self._admission.items,
            worker_restarts=self._restarts,
            base_models=worker.base_models if worker else (),
            **dataclasses.asdict(_added(self._past, worker.counters if worker else Counters())),
        )

    async def _read(self, rows: int, deadline_s: float, read: _Read[_Answer]) -> _Answer:
        """What changes nothing, so that it may be asked twice."""
        expires_at = asyncio.get_running_loop().time() + deadline_s
        with self._admission.prediction(rows):
            try:
                return await self._read_once(read, expires_at)
            except WorkerDied:
                return await self._read_once(read, expires_at)

    async def _read_once(self, read: _Read[_Answer], expires_at: float) -> _Answer:
        loop = asyncio.get_running_loop()
        worker = await self._ready_worker(expires_at - loop.time())
        return await read(worker, expires_at - loop.time())

    async def _ready_worker(self, wait_s: float | None) -> WorkerProcess:
        """The worker, waiting for its first start, which ends by itself, or a while for a restart that is under way."""
        worker = self._worker
        if worker is not None and not worker.is_lost:
            return worker
        bounds = (wait_s, None if self._state == "starting" else self._patience.restart_s)
        try:
            async with asyncio.timeout(min((bound for bound in bounds if bound is not None), default=None)):
                return await self._started_worker()
        except TimeoutError:
            raise EngineNotReady("the worker is being started; try again later") from None

    async def _started_worker(self) -> WorkerProcess:
        while (worker := self._worker) is None or worker.is_lost:
            if not self._admission.is_open:
                raise EngineNotReady("the engine is not running")
            self._available.clear()
            await self._available.wait()
        return worker

    def _close(self) -> None:
        """Let nothing in any more, and end the wait of those who hope for a worker."""
        self._state = "stopped"
        self._admission.is_open = False
        self._available.set()

    def _use(self, worker: WorkerProcess) -> None:
        self._worker, self._state, self._device = worker, "ready", worker.device
        self._available.set()

    async def _supervise(self, worker: WorkerProcess) -> None:
        loop = asyncio.get_running_loop()
        back_offs = self._patience.back_offs()
        while True:
            since = loop.time()
            await worker.ended.wait()
            _log.error("the worker (process %d) has ended; it is started again", worker.pid)
            self._worker, self._state = None, "restarting"
            self._past = dataclasses.replace(_added(self._past, worker.counters), cache_bytes=0, cache_items=0)
            if loop.time() - since >= self._patience.healthy_s:
                back_offs = self._patience.back_offs()
            worker = await self._restarted(back_offs)
            self._use(worker)

    async def _restarted(self, back_offs: Iterator[float]) -> WorkerProcess:
        while True:
            await asyncio.sleep(next(back_offs))
            self._restarts += 1
            try:
                return await self._launched()
            except Exception as error:  # noqa: BLE001  # the supervision must live on, whatever it is
                log_failure(_log, "the worker could not be started again", error)

    async def _first_launched(self) -> WorkerProcess:
        """The first worker. One that is killed, as for its memory, gets another chance; one that says why does not."""
        for pause_s in itertools.islice(self._patience.back_offs(), 1, self._patience.start_attempts):
            try:
                return await self._launched()
            except WorkerDied as error:
                log_failure(_log, "the worker is started again", error)
            await asyncio.sleep(pause_s)
        return await self._launched()

    async def _launched(self) -> WorkerProcess:
        worker = await WorkerProcess.start(self._options)
        watch = asyncio.create_task(self._watch(worker), name="engine-watch-dog")
        worker.keep_until_ended(watch)
        try:
            await asyncio.shield(worker.ready)
        except BaseException:
            await worker.close(timeout_s=self._patience.end_s)
            raise
        return worker

    async def _watch(self, worker: WorkerProcess) -> None:
        """Kill a worker that hangs."""
        loop = asyncio.get_running_loop()
        vigil = Vigil(stuck_s=self._patience.stuck_s)
        is_hung = False
        while not is_hung:
            await asyncio.sleep(self._patience.hang_s / 4)
            is_hung = vigil.is_hung(
                loop.time(),
                silence_s=worker.silence_s,
                # A thread that waits for a card spins, so there it says nothing.
                used_s=None if worker.device.startswith("cuda") else used_cpu_s(worker.pid),
                hang_s=self._patience.hang_s if worker.ready.done() else self._patience.start_s,
            )
        _log.error("the worker (process %d) gave no sign for %.0f s and is killed", worker.pid, worker.silence_s)
        worker.kill()


def _added(past: Counters, present: Counters) -> Counters:
    pairs = zip(dataclasses.astuple(past), dataclasses.astuple(present), strict=True)
    return Counters(*(before + now for before, now in pairs))
