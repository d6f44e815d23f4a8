"""The worker process: reads frames from the socket it was given, runs one worker, writes frames back.

`python -m service.engine.process_worker FD` is started by `process.ProcessEngine` and by nobody else.

It ignores SIGINT and SIGTERM, which a terminal or a process manager sends to the whole group: whoever drains the API
needs the worker until the last answer. It ends at the end of the socket's stream, which comes when the API process
closes it and also when that process is killed, whatever this one is doing then.
"""

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from service import telemetry
from service.artifacts import FileArtifacts
from service.engine.base import Pixels
from service.engine.batching import Entry, Scheduler
from service.engine.messages import (
    Answer,
    Counters,
    Frame,
    FrameDecoder,
    WorkerOptions,
    adapt_request,
    answers_frame,
    directions_request,
    encode,
    error_fields,
    predict_request,
    similarity_request,
)
from service.errors import SetupError

SETUP_FAILED = 3
"""Exit status after a device or a base model could not be used."""

_PROGRESS_S = 0.25
_READ_BYTES = 2**18

_log = logging.getLogger("service.engine.process_worker")


def main() -> None:
    """Serve the socket whose file descriptor is the first argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    wire = Wire(socket.socket(fileno=int(sys.argv[1])))
    configured = wire.frames()
    options = WorkerOptions(**next(configured).fields)
    telemetry.configure_logging(options.log_format)
    inbox = Inbox()
    threading.Thread(target=inbox.read, args=(configured,), name="reader", daemon=True).start()
    try:
        _serve(wire, inbox, options)
    except SetupError as error:
        wire.send(Frame("setup_error", error_fields(error)))
        os._exit(SETUP_FAILED)
    except ConnectionError:
        os._exit(0)
    except Exception:  # noqa: BLE001  # whatever it is, it is logged and the process ends
        _log.critical("the worker ends because of an error it cannot recover from", exc_info=True)
        os._exit(1)


class Wire:
    """The socket in frames."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._progress_at = 0.0

    def frames(self) -> Iterator[Frame]:
        """Each frame that comes, until the other end closes."""
        decoder = FrameDecoder()
        while data := self._stream.recv(_READ_BYTES):
            yield from decoder.feed(data)

    def send(self, frame: Frame) -> None:
        """Write a frame; for one thread only."""
        self._stream.sendall(encode(frame))

    def reply(self, answers: Sequence[Answer], counters: Counters) -> None:
        """Write answers."""
        self.send(answers_frame(answers, counters))

    def tell(self, number: int, share: float) -> None:
        """Write how far an adaptation is."""
        self.send(Frame("share", {"number": number, "share": share}))

    def progress(self) -> None:
        """Let the other end know that work goes on, once in a while."""
        now = time.monotonic()
        if now - self._progress_at >= _PROGRESS_S:
            self._progress_at = now
            self.send(Frame("progress"))


class Inbox:
    """Where the reader thread puts what comes; it starts before torch is imported, to notice an end meanwhile."""

    def __init__(self) -> None:
        self.scheduler = Scheduler()
        self._parts: dict[int, list[Pixels]] = {}

    def read(self, frames: Iterator[Frame]) -> None:
        """Take every frame, then end the process: with the stream ends the reason to live.

        It ends without waiting for anything: nobody reads what might still be answered.
        """
        status = 1
        try:
            for frame in frames:
                self._take(frame)
            status = 0
        except ConnectionError:
            status = 0
        except Exception:  # noqa: BLE001  # whatever it is, it is logged and the process ends
            _log.critical("the worker ends because of a message it cannot take", exc_info=True)
        finally:
            os._exit(status)

    def _take(self, frame: Frame) -> None:
        number = int(frame.fields["number"])
        match frame.kind:
            case "predict":
                expires_at = self.scheduler.clock() + frame.fields["deadline_s"]
                self.scheduler.submit(Entry(number, predict_request(frame), expires_at))
            case "similarities":
                expires_at = self.scheduler.clock() + frame.fields["deadline_s"]
                self.scheduler.submit(Entry(number, similarity_request(frame), expires_at))
            case "directions":
                expires_at = self.scheduler.clock() + frame.fields["deadline_s"]
                self.scheduler.submit(Entry(number, directions_request(frame), expires_at))
            case "pixels":
                self._parts.setdefault(number, []).append(frame.arrays[0])
            case "adapt":
                self.scheduler.submit(Entry(number, adapt_request(frame, self._parts.pop(number, []))))
            case "cancel":
                self._parts.pop(number, None)
                self.scheduler.cancel(number)


def _serve(wire: Wire, inbox: Inbox, options: WorkerOptions) -> None:
    # Imported here: the reader thread is to run while torch is imported, which takes seconds.
    from service.engine.serving import Serving  # noqa: PLC0415
    from service.engine.worker import Worker, use_threads  # noqa: PLC0415

    use_threads(options.threads)
    worker = Worker(options, store=FileArtifacts(Path(options.artifacts_root)))
    wire.progress()
    worker.warm_up(progress=wire.progress)
    inbox.scheduler.batch_rows = worker.rows_a_pass
    wire.send(Frame("ready", {"device": worker.device_name, "base_models": worker.base_models}))
    _log.info("the worker is ready on %s with %d base models", worker.device_name, len(worker.base_models))
    Serving(worker, inbox.scheduler, reply=wire.reply, progress=wire.progress, tell=wire.tell).run()


if __name__ == "__main__":
    main()
