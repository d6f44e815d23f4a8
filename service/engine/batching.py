"""Who runs next: the waiting requests of one worker.

Predictions come before adaptation steps, in batches of what is waiting: nobody waits for a batch to fill, because
on a CPU a fuller batch saves only overhead, and on a GPU the queue fills by itself while the batch before runs.
The queues are bounded where requests are let in (`admission`), so a place is refused before anything is sent.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from service.engine.base import AdaptRequest, DirectionsRequest, PredictRequest, SimilarityRequest

Request: TypeAlias = PredictRequest | SimilarityRequest | DirectionsRequest | AdaptRequest
Clock: TypeAlias = Callable[[], float]
BatchRows: TypeAlias = Callable[[str], int]
"""The number of images for the digest of a base model."""


@dataclass(slots=True, eq=False)
class Entry:
    """One request that waits or runs.

    Attributes:
        number: names it to whoever asked.
        expires_at: by the scheduler's clock; nobody reads an answer after it.
        submitted_at: by the scheduler's clock.
        is_cancelled: whoever asked has left.
    """

    number: int
    request: Request
    expires_at: float = float("inf")
    submitted_at: float = 0.0
    is_cancelled: bool = False

    @property
    def rows(self) -> int:
        """Number of images in it."""
        return len(self.request.pixels)


@dataclass(slots=True)
class Batch:
    """Predictions of one base model to run together, and those found too late to run."""

    entries: list[Entry] = field(default_factory=list)
    expired: list[Entry] = field(default_factory=list)


class Scheduler:
    """Hands one worker its next work; requests come from other threads.

    Args:
        batch_rows: most images in a batch of a base model; a single request may have more and then runs alone. Images
            are counted, not requests, because images are what fills the memory of the device, and takes its time.
        clock: seconds, monotonic.
    """

    def __init__(self, *, batch_rows: BatchRows = lambda _: 64, clock: Clock = time.monotonic) -> None:
        self.clock = clock
        self.batch_rows = batch_rows
        self._changed = threading.Condition()
        self._predictions: deque[Entry] = deque()
        self._adaptations: deque[Entry] = deque()
        self._open: dict[int, Entry] = {}
        self._is_closed = False

    def submit(self, entry: Entry) -> None:
        """Put a request at the end of its queue."""
        entry.submitted_at = self.clock()
        is_prediction = not isinstance(entry.request, AdaptRequest)
        with self._changed:
            self._open[entry.number] = entry
            (self._predictions if is_prediction else self._adaptations).append(entry)
            self._changed.notify()

    def cancel(self, number: int) -> None:
        """Drop a request that still waits; one that runs is marked, and an adaptation ends at its next pause."""
        with self._changed:
            if (entry := self._open.pop(number, None)) is not None:
                entry.is_cancelled = True

    def close(self) -> None:
        """Let `wait` return although nothing waits."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def wait(self) -> bool:
        """Return as soon as something waits; False once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._predictions or self._adaptations)
            return not self._is_closed

    def waiting_predictions(self) -> int:
        """Number of predictions in the queue; cheap, for use between the steps of an adaptation."""
        return len(self._predictions)

    def take_batch(self, *, small_only: bool = False) -> Batch:
        """Remove the oldest prediction and those behind it that share its base model, as many as fit.

        With `small_only`, requests of more images than a batch stay where they are.
        """
        now = self.clock()
        batch = Batch()
        with self._changed:
            passed_over: deque[Entry] = deque()
            rows = 0
            while self._predictions:
                entry = self._predictions.popleft()
                if entry.is_cancelled:
                    continue
                if entry.expires_at <= now:
                    batch.expired.append(entry)
                elif self._fits(batch, rows, entry, small_only=small_only):
                    batch.entries.append(entry)
                    rows += entry.rows
                else:
                    passed_over.append(entry)
            self._predictions = passed_over
        return batch

    def take_adaptation(self) -> Entry | None:
        """Remove the oldest adaptation whose caller still waits."""
        with self._changed:
            while self._adaptations:
                entry = self._adaptations.popleft()
                if not entry.is_cancelled:
                    return entry
        return None

    def finish(self, entries: Sequence[Entry]) -> list[Entry]:
        """Forget requests that have run or expired; return those whose callers still wait."""
        with self._changed:
            return [entry for entry in entries if self._open.pop(entry.number, None) is not None]

    def _fits(self, batch: Batch, rows: int, entry: Entry, *, small_only: bool) -> bool:
        base_model = entry.request.base_model
        if not batch.entries:
            return not small_only or entry.rows <= self.batch_rows(base_model)
        same_base = base_model == batch.entries[0].request.base_model
        return same_base and rows + entry.rows <= self.batch_rows(base_model)
