"""Telling a worker that hangs from one that is slow.

Silence alone does not tell: on a busy machine an honest step may take minutes. But a worker that computes uses
processor time, however little it is given, and one that waits for something that never comes uses none.
"""

from dataclasses import dataclass

_BUSY_SHARE = 0.02
"""Share of a processor from which a worker counts as computing: what is left to one among fifty."""


@dataclass(slots=True)
class Vigil:
    """Looks at one worker from time to time.

    Attributes:
        stuck_s: a silent worker that computes all the time is given up after this long: a loop without an end.
    """

    stuck_s: float
    _looked_at: float | None = None
    _used_s: float | None = None
    _looks: int = 0

    def is_hung(self, now: float, *, silence_s: float, used_s: float | None, hang_s: float) -> bool:
        """Whether two looks in a row found the worker silent for too long.

        The second look spares a worker whose signs its watcher was too busy to read.

        Args:
            now: of a monotonic clock.
            silence_s: for how long the worker has given no sign that it owes.
            used_s: the processor time that it has used; None where that says nothing.
            hang_s: how long it may be silent without computing.
        """
        limit_s = max(self.stuck_s, hang_s) if self._has_computed(now, used_s) else hang_s
        self._looks = self._looks + 1 if silence_s > limit_s else 0
        self._looked_at, self._used_s = now, used_s
        return self._looks >= 2

    def _has_computed(self, now: float, used_s: float | None) -> bool:
        if used_s is None or self._used_s is None or self._looked_at is None:
            return False
        return used_s - self._used_s >= _BUSY_SHARE * (now - self._looked_at)
