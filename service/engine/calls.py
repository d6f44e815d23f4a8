"""Questions to a worker that wait for their answers."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable

from service.engine.base import AdaptResult, Probabilities, Tell
from service.engine.messages import Answer
from service.errors import DeadlineExceeded, ServiceError

Send = Callable[[int], Awaitable[None]]
Withdraw = Callable[[int], None]


class Calls:
    """The open calls of one worker, by number; belongs to one event loop.

    Args:
        withdraw: tells the worker that nobody waits for this number any more.
    """

    def __init__(self, *, withdraw: Withdraw) -> None:
        self._withdraw = withdraw
        self._numbers = itertools.count()
        self._tells: dict[int, Tell] = {}
        self._open: dict[int, asyncio.Future[Probabilities | AdaptResult]] = {}
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        return len(self._open)

    async def ask(
        self, send: Send, *, deadline_s: float | None = None, tell: Tell | None = None
    ) -> Probabilities | AdaptResult:
        """Send a request under a number of its own and wait for its result; `tell` is told how far it is.

        Raises:
            DeadlineExceeded: there is none within deadline_s.
            ServiceError: what the worker answered.
        """
        number = next(self._numbers)
        future = self._open[number] = asyncio.get_running_loop().create_future()
        if tell is not None:
            self._tells[number] = tell
        self._idle.clear()
        try:
            async with asyncio.timeout(deadline_s):
                await send(number)
                result: Probabilities | AdaptResult = await future
                return result
        except TimeoutError:
            raise DeadlineExceeded(f"the answer was not ready within {deadline_s:.3g} s") from None
        finally:
            self._close(number)

    def tell(self, number: int, share: float) -> None:
        """Say how far a call is to whoever wants to know."""
        if (tell := self._tells.get(number)) is not None:
            tell(share)

    def settle(self, answers: Iterable[Answer]) -> None:
        """Hand answers to those who wait for them."""
        for answer in answers:
            future = self._open.get(answer.number)
            if future is None or future.done():
                continue
            if isinstance(answer.outcome, ServiceError):
                future.set_exception(answer.outcome)
            else:
                future.set_result(answer.outcome)

    def fail(self, error: ServiceError) -> None:
        """End every open call with this error."""
        self.settle([Answer(number, type(error)(error.message)) for number in self._open])

    async def drained(self, timeout_s: float) -> bool:
        """Wait until no call is open; False if some still are after timeout_s."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    def _close(self, number: int) -> None:
        future = self._open.pop(number)
        self._tells.pop(number, None)
        if not future.done() or future.cancelled():
            self._withdraw(number)
        else:
            future.exception()  # an outcome that came too late counts as seen, so asyncio does not complain about it
        if not self._open:
            self._idle.set()
