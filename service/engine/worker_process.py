"""One run of the worker process, seen from the API process: its socket, its calls, its end."""

import asyncio
import contextlib
import dataclasses
import logging
import os
import socket
import sys
from pathlib import Path
from signal import SIGKILL, strsignal
from typing import cast

import service
from service.engine.base import (
    AdaptRequest,
    AdaptResult,
    Directions,
    DirectionsRequest,
    PredictRequest,
    Probabilities,
    Similarities,
    SimilarityRequest,
    Tell,
)
from service.engine.calls import Calls
from service.engine.cpus import usable_cpus
from service.engine.messages import (
    BrokenStreamError,
    Counters,
    Frame,
    FrameDecoder,
    WorkerOptions,
    adapt_frame,
    answers_in,
    directions_frame,
    encode,
    error_from,
    pixel_frames,
    predict_frame,
    similarity_frame,
)
from service.errors import WorkerDied

_FLUSH_BYTES = 2**16
_EXIT_S = 1.0
"""Time from the closed socket to the exit status, before the process is killed: a status says more than signal 9."""

_log = logging.getLogger(__name__)


class WorkerProcess(asyncio.Protocol):
    """A worker process, from its start to its end; belongs to one event loop.

    Attributes:
        ready: done when the worker is warm; failed with what kept it from that.
        ended: set once the process is gone and every call has failed.
        counters: as of the latest answer.
    """

    def __init__(self, process: asyncio.subprocess.Process, options: WorkerOptions) -> None:
        loop = self._loop = asyncio.get_running_loop()
        self._process = process
        self._options = options
        self._transport: asyncio.Transport | None = None
        self._decoder = FrameDecoder()
        self._heard_at = loop.time()
        self._outbox = bytearray()
        self._is_flush_due = False
        self._writable = asyncio.Event()
        self._end: asyncio.Task[None] | None = None
        self._companions: list[asyncio.Task[None]] = []
        self.ready: asyncio.Future[None] = loop.create_future()
        self.ready.add_done_callback(_mark_as_seen)
        self.ended = asyncio.Event()
        self.calls = Calls(withdraw=self._withdraw)
        self.counters = Counters()
        self.device = "unknown"
        self.base_models: tuple[str, ...] = ()

    @classmethod
    async def start(cls, options: WorkerOptions) -> "WorkerProcess":
        """Start the process and hand it its options; it is `ready` later."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await _spawned(theirs.fileno(), options)
            loop = asyncio.get_running_loop()
            _, worker = await loop.create_unix_connection(lambda: cls(process, options), sock=ours)
        except BaseException:
            ours.close()  # a process that did start ends with it
            raise
        return worker

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    @property
    def is_lost(self) -> bool:
        """Whether its socket is closed; it has `ended` a moment later."""
        return self._transport is None or self._transport.is_closing()

    @property
    def silence_s(self) -> float:
        """For how long the worker has given no sign although somebody waits for one."""
        is_waited_for = len(self.calls) or not self.ready.done()
        return self._loop.time() - self._heard_at if is_waited_for else 0.0

    async def predict(self, request: PredictRequest, *, deadline_s: float) -> Probabilities:
        """As `Engine.predict`, on this process only."""

        async def send(number: int) -> None:
            self._send(predict_frame(number, request, deadline_s))

        self._start_listening()
        return cast("Probabilities", await self.calls.ask(send, deadline_s=deadline_s))

    async def similarities(self, request: SimilarityRequest, *, deadline_s: float) -> Similarities:
        """As `Engine.similarities`, on this process only."""

        async def send(number: int) -> None:
            self._send(similarity_frame(number, request, deadline_s))

        self._start_listening()
        return cast("Similarities", await self.calls.ask(send, deadline_s=deadline_s))

    async def directions(self, request: DirectionsRequest, *, deadline_s: float) -> Directions:
        """As `Engine.directions`, on this process only."""

        async def send(number: int) -> None:
            self._send(directions_frame(number, request, deadline_s))

        self._start_listening()
        return cast("Directions", await self.calls.ask(send, deadline_s=deadline_s))

    async def adapt(self, request: AdaptRequest, *, tell: Tell | None = None) -> AdaptResult:
        """As `Engine.adapt`, on this process only."""

        async def send(number: int) -> None:
            for frame in pixel_frames(number, request.pixels):
                self._send(frame)
                await self._writable.wait()
            self._send(adapt_frame(number, request))

        self._start_listening()
        return cast("AdaptResult", await self.calls.ask(send, tell=tell))

    def keep_until_ended(self, task: "asyncio.Task[None]") -> None:
        """Hold on to a task about this process, and cancel it when the process has ended."""
        self._companions.append(task)

    def kill(self) -> None:
        """End the process now.

        Not by `Process.kill`: it polls first, which takes the exit status of a process that has just ended away from
        the event loop's watcher, and the loop then reports 255.
        """
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, SIGKILL)

    async def close(self, *, timeout_s: float) -> None:
        """Close the socket, which ends the process; kill it if it has not ended after timeout_s."""
        if self._transport is not None:
            self._flush()
            self._transport.close()
        try:
            async with asyncio.timeout(timeout_s):
                await self.ended.wait()
        except TimeoutError:
            self.kill()
            await self.ended.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast("asyncio.Transport", transport)
        self._writable.set()
        self._send(Frame("configure", dataclasses.asdict(self._options)))

    def pause_writing(self) -> None:
        """Called by asyncio."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Called by asyncio."""
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        self._heard_at = self._loop.time()
        try:
            for frame in self._decoder.feed(data):
                self._take(frame)
        except BrokenStreamError:
            _log.exception("the worker's answers cannot be read; it is ended")
            self.kill()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        """Called by asyncio: the process has ended, or closed its socket, which is as good as an end."""
        self._writable.set()
        self._end = self._loop.create_task(self._finish())

    def _take(self, frame: Frame) -> None:
        match frame.kind:
            case "answers":
                answers, self.counters = answers_in(frame)
                self.calls.settle(answers)
            case "share":
                self.calls.tell(frame.fields["number"], frame.fields["share"])
            case "ready" if not self.ready.done():
                self.device = frame.fields["device"]
                self.base_models = tuple(frame.fields["base_models"])
                self.ready.set_result(None)
            case "setup_error" if not self.ready.done():
                self.ready.set_exception(error_from(frame.fields))

    async def _finish(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_EXIT_S):
                await self._process.wait()
        self.kill()  # one that only closed its socket
        status = await self._process.wait()
        if not self.ready.done():
            self.ready.set_exception(WorkerDied(f"the worker {_end_in_words(status)} while it started"))
        self.calls.fail(WorkerDied(f"the worker {_end_in_words(status)} and is started again"))
        self.ended.set()
        for task in self._companions:
            task.cancel()

    def _start_listening(self) -> None:
        if not len(self.calls):
            self._heard_at = self._loop.time()

    def _send(self, frame: Frame) -> None:
        if self._transport is None or self.is_lost:
            raise WorkerDied("the worker has ended and is started again")
        self._outbox += encode(frame)
        if len(self._outbox) > _FLUSH_BYTES:
            self._flush()
        elif not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Write what was sent in this turn of the loop in one piece: the worker wakes once for all of it."""
        self._is_flush_due = False
        if self._outbox and self._transport is not None and not self.is_lost:
            self._transport.write(bytes(self._outbox))
        self._outbox.clear()

    def _withdraw(self, number: int) -> None:
        with contextlib.suppress(WorkerDied):
            self._send(Frame("cancel", {"number": number}))


async def _spawned(descriptor: int, options: WorkerOptions) -> asyncio.subprocess.Process:
    # -P and PYTHONPATH: the worker imports the package that this process runs, not a `service` folder that happens to
    # lie in the working directory.
    source = str(Path(service.__file__).parents[1])
    threads = str(options.threads or usable_cpus())
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
    }
    # Threads that spin while they wait for one that has no core make everything stand still: on 2 busy cores, 2
    # spinning threads were seen to predict 4 to 16 images a second, 2 sleeping ones 1,100 to 1,800.
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    command = (sys.executable, "-P", "-m", "service.engine.process_worker", str(descriptor))
    return await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, pass_fds=(descriptor,), env=environment
    )


def _end_in_words(status: int) -> str:
    return f"ended with status {status}" if status >= 0 else f"was ended by signal {-status} ({strsignal(-status)})"


def _mark_as_seen(ready: "asyncio.Future[None]") -> None:
    """Keep asyncio from complaining about an error that nobody waited for."""
    if not ready.cancelled():
        ready.exception()
