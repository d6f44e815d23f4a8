"""Room in memory, in bytes: what is counted by items alone may be a thousand times larger than it was thought to be."""

import asyncio


class Room:
    """So many bytes may be held at a time; who wants more waits in line. Belongs to one event loop.

    One that is larger than all the room gets in when nobody else is there, so that no size waits for ever.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._held_bytes = 0
        self._line = asyncio.Lock()
        self._left = asyncio.Event()

    def taken_at_once(self, n_bytes: int) -> bool:
        """Take room if there is some and nobody waits for it; whether it was taken."""
        if self._line.locked() or not self._fits(n_bytes):
            return False
        self._held_bytes += n_bytes
        return True

    async def take(self, n_bytes: int) -> None:
        """Take room, behind those who wait for it."""
        async with self._line:
            while not self._fits(n_bytes):
                self._left.clear()
                await self._left.wait()
            self._held_bytes += n_bytes

    def give_back(self, n_bytes: int) -> None:
        """Let others have it."""
        self._held_bytes -= n_bytes
        self._left.set()

    def _fits(self, n_bytes: int) -> bool:
        return self._held_bytes == 0 or self._held_bytes + n_bytes <= self._most_bytes
