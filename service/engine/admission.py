"""How much is let into an engine: places for adaptations, rows for predictions."""

from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import EngineBusy, EngineNotReady
from service.wording import counted


class Admission:
    """Counts what is waiting or running and refuses what is too much; belongs to one event loop.

    Args:
        queue_items: most adaptations at a time, and, apart from them, most images of predictions at a time. A single
            prediction with more images is let in when no other is there, so that no size is refused for ever.
    """

    def __init__(self, *, queue_items: int) -> None:
        self._queue_items = queue_items
        self._adaptations = self._rows = self._predictions = 0
        self.is_open = False

    @property
    def items(self) -> int:
        """Requests inside: adaptations and predictions."""
        return self._adaptations + self._predictions

    @contextmanager
    def adaptation(self) -> Iterator[None]:
        """A place for one adaptation.

        Raises:
            EngineBusy: all are taken.
            EngineNotReady: the engine is stopped.
        """
        self._refuse_when_closed()
        if self._adaptations >= self._queue_items:
            raise EngineBusy(f"{self._adaptations} adaptations are waiting, which is the most; try again later")
        self._adaptations += 1
        try:
            yield
        finally:
            self._adaptations -= 1

    @contextmanager
    def prediction(self, rows: int) -> Iterator[None]:
        """Room for the images of one prediction.

        Raises:
            EngineBusy: there is not enough.
            EngineNotReady: the engine is stopped.
        """
        self._refuse_when_closed()
        if self._rows and self._rows + rows > self._queue_items:
            raise EngineBusy(f"{counted(self._rows, 'image')} waiting to be predicted, the most is {self._queue_items}")
        self._rows += rows
        self._predictions += 1
        try:
            yield
        finally:
            self._rows -= rows
            self._predictions -= 1

    def _refuse_when_closed(self) -> None:
        if not self.is_open:
            raise EngineNotReady("the engine is not running")
