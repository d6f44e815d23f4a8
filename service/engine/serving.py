"""The worker's main loop: take what waits, let the worker do it, hand the answers back."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from service import telemetry
from service.engine.base import AdaptRequest
from service.engine.batching import Entry, Scheduler
from service.engine.failures import as_service_error, is_fatal
from service.engine.messages import Answer, Counters, Outcome
from service.engine.worker import Worker
from service.errors import DeadlineExceeded, ServiceError

Reply = Callable[[Sequence[Answer], Counters], None]

_TELL_S = 0.25

_log = logging.getLogger(__name__)


class Serving:
    """Runs one worker from one scheduler, in one thread.

    Predictions and adaptations take turns, and predictions also run between the steps of an adaptation: every
    prediction that waits when its turn comes is answered before the next step. So a prediction waits for one step
    at most, and a stream of predictions never keeps an adaptation from moving. In the same way predictions of a few
    images pass between the passes of one of many.

    Args:
        reply: takes answers that are ready at the same time; called in the thread of `run`.
        progress: called whenever the loop has moved on, so that somebody can tell slow from stuck.
        tell: takes the number of an adaptation and the share of it that is done: its first, then every
            quarter of a second at most.
    """

    def __init__(
        self,
        worker: Worker,
        scheduler: Scheduler,
        *,
        reply: Reply,
        progress: Callable[[], None],
        tell: Callable[[int, float], None],
    ) -> None:
        self._worker = worker
        self._scheduler = scheduler
        self._reply = reply
        self._progress = progress
        self._tell = tell
        self._told_at = -math.inf

    def run(self) -> None:
        """Serve until the scheduler is closed.

        Raises:
            Exception: the device is lost to this process.
        """
        while self._scheduler.wait():
            self._run_predictions()
            if (entry := self._scheduler.take_adaptation()) is not None:
                self._finish([entry], [self._adapted(entry)])

    def _run_predictions(self, *, small_only: bool = False) -> None:
        """Answer the predictions that wait at this moment; those that come meanwhile have their turn later."""
        waiting = self._scheduler.waiting_predictions()
        while waiting > 0:
            batch = self._scheduler.take_batch(small_only=small_only)
            self._finish(batch.expired, [DeadlineExceeded("the worker came to it too late")] * len(batch.expired))
            if not batch.entries:
                return
            requests = [entry.request for entry in batch.entries if not isinstance(entry.request, AdaptRequest)]
            pause = self._progress if small_only else self._between_passes
            self._finish(batch.entries, self._worker.answer_batch(requests, pause=pause))
            waiting -= len(batch.entries) + len(batch.expired)

    def _between_passes(self) -> None:
        self._progress()
        if self._scheduler.waiting_predictions():
            self._run_predictions(small_only=True)

    def _adapted(self, entry: Entry) -> Outcome:
        assert isinstance(entry.request, AdaptRequest)
        self._told_at = -math.inf
        queue_ms = round((self._scheduler.clock() - entry.submitted_at) * 1000, 3)
        token = telemetry.set_request_id(entry.request.request_id)
        try:
            result = self._worker.adapt(
                entry.request, pause=lambda: self._pause(entry), tell=lambda share: self._tell_share(entry, share)
            )
            _log.info("adapted to %d images of %d classes", result.report["n_support"], result.report["n_way"])
            return replace(result, timings_ms={"queue": queue_ms} | dict(result.timings_ms))
        except _WithdrawnError:
            return ServiceError("nobody waits for this adaptation any more")
        except Exception as error:
            if is_fatal(error):
                raise
            return as_service_error(error)
        finally:
            telemetry.reset_request_id(token)

    def _pause(self, entry: Entry) -> None:
        self._progress()
        if entry.is_cancelled:
            raise _WithdrawnError
        if self._scheduler.waiting_predictions():
            self._run_predictions()

    def _tell_share(self, entry: Entry, share: float) -> None:
        now = self._scheduler.clock()
        if now - self._told_at >= _TELL_S:
            self._told_at = now
            self._tell(entry.number, share)

    def _finish(self, entries: Sequence[Entry], outcomes: Sequence[Outcome]) -> None:
        outcome_of = {entry.number: outcome for entry, outcome in zip(entries, outcomes, strict=True)}
        answers = [Answer(entry.number, outcome_of[entry.number]) for entry in self._scheduler.finish(entries)]
        if answers:
            self._reply(answers, self._worker.counters())


class _WithdrawnError(Exception):
    """Ends an adaptation whose caller has left."""
