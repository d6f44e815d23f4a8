"""How long the supervisor of a worker process waits for what."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a process engine waits for what.

    Attributes:
        hang_s: a worker that owes an answer, gives no sign for this long and does not compute either is killed. A
            sign comes between the steps of an adaptation and between passes of a prediction, a quarter of a second
            apart on an idle machine.
        stuck_s: the same for a worker that computes all the time.
        start_s: the same for a worker that starts: until torch is imported and the base models are loaded.
        start_attempts: how often `start` tries while the worker dies without saying why.
        restart_s: a request waits this long for a worker that is being restarted.
        finish_s: `stop` waits this long for what is in flight.
        end_s: a worker whose socket was closed is killed after this long.
        first_back_off_s, last_back_off_s: pauses before the second restart in a row and before late ones; the first
            restart comes at once. They double from one to the other.
        healthy_s: a worker that lived this long makes the next restart a first one.
    """

    hang_s: float = 60.0
    stuck_s: float = 600.0
    start_s: float = 180.0
    start_attempts: int = 3
    restart_s: float = 15.0
    finish_s: float = 20.0
    end_s: float = 5.0
    first_back_off_s: float = 0.5
    last_back_off_s: float = 30.0
    healthy_s: float = 60.0

    def back_offs(self) -> Iterator[float]:
        """The pause before each restart in a row."""
        yield 0.0
        pause_s = self.first_back_off_s
        while True:
            yield min(pause_s, self.last_back_off_s)
            pause_s *= 2
