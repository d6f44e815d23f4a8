"""Uploads become arrays: a bounded number of images at a time, off the event loop unless they are small.

Why small ones stay on the loop: for at most 64 kB and 0.1 megapixel, handing the work to a thread costs more than it.
Why no more of one request than there are threads waits for them: the image of a prediction then stands behind a few
images of a large upload, never behind all of them.

Whoever keeps what was decoded for as long as a request is open does so in a `room`: an upload of some hundred kilobytes
may become a thousand arrays of a photograph's input size. Predictions have a room of their own, behind no upload. Pools
to suggest from come one at a time: each has all of a third room, or is refused.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from service import imaging
from service.errors import BadItem, EngineBusy, ImageError, ImageTooLarge, RequestTooLarge, UploadRejected
from service.imaging import Decoded
from service.metalearning.header import InputFormat
from service.usecases.limits import Limits
from service.usecases.room import Room
from service.usecases.uploads import Upload

_SMALL_BYTES = 64_000
_SMALL_PIXELS = 100_000
_AGREEING = frozenset({413, 415})

ROOM_PATIENCE_S: Final = 10.0
"""How long a request waits for room, its files on the disk meanwhile."""


@dataclass(frozen=True, slots=True)
class Source:
    """An image to decode: an upload, where it stands in its request, and whether reading it may block."""

    upload: Upload
    pointer: str
    blocks: bool = False


class Decoder:
    """The decode threads of the process, shared by every use case; `close` ends them."""

    def __init__(self, limits: Limits, *, patience_s: float = ROOM_PATIENCE_S) -> None:
        self.limits = limits
        self._patience_s = patience_s
        self._of_uploads, self._of_predictions = Room(limits.decoded_bytes), Room(limits.decoded_bytes)
        self._threads = ThreadPoolExecutor(limits.decodes_in_flight, thread_name_prefix="decode")

    def close(self) -> None:
        """End the threads; what they decode is finished first."""
        self._threads.shutdown()

    @asynccontextmanager
    async def room(
        self, n_images: int, formats: Sequence[InputFormat], *, for_prediction: bool = False
    ) -> AsyncIterator[None]:
        """Room in memory, inside the block, for images in these formats and once more in one of them, put together.

        Raises:
            RequestTooLarge: they take more than all the room.
            EngineBusy: others hold it, and went on doing so.
        """
        n_bytes = self.checked_bytes(n_images, formats)
        room = self._of_predictions if for_prediction else self._of_uploads
        try:
            async with asyncio.timeout(self._patience_s):
                await room.take(n_bytes)
        except TimeoutError:
            most = self.limits.decoded_bytes
            raise EngineBusy(
                f"open requests hold the {most} bytes that decoded images may take; try again later"
            ) from None
        try:
            yield
        finally:
            room.give_back(n_bytes)

    def checked_bytes(self, n_images: int, formats: Sequence[InputFormat]) -> int:
        """What images take in these formats and once more in one of them, put together.

        Raises:
            RequestTooLarge: it is more than all the room.
        """
        sizes = [wanted.channels * wanted.side_px * wanted.side_px for wanted in formats]
        n_bytes, most = n_images * (sum(sizes) + max(sizes)), self.limits.decoded_bytes
        if n_bytes > most:
            images = "1 image takes" if n_images == 1 else f"{n_images} images take"
            raise RequestTooLarge(f"{images} {n_bytes} bytes decoded, the most is {most}; send fewer at once")
        return n_bytes

    async def decode(
        self, sources: Sequence[Source], formats: Sequence[InputFormat], *, tell: Callable[[], None] = lambda: None
    ) -> tuple[Decoded, ...]:
        """Every image in every format; `tell` is called after each.

        Raises:
            UploadRejected: some image cannot be used; it names them all.
        """
        outcomes: dict[int, Decoded | _Refusal] = {}
        waiting = iter(range(len(sources)))
        lanes = min(self.limits.decodes_in_flight, len(sources))
        try:
            await asyncio.gather(*(self._decode_some(waiting, sources, formats, outcomes, tell) for _ in range(lanes)))
        finally:
            deque(waiting, maxlen=0)  # after an error that is not of one image, the other lanes end too
        in_order = [outcomes[index] for index in range(len(sources))]
        refusals = [outcome for outcome in in_order if isinstance(outcome, _Refusal)]
        if refusals:
            raise _rejected(refusals, len(sources))
        return tuple(outcome for outcome in in_order if isinstance(outcome, Decoded))

    async def _decode_some(
        self,
        waiting: Iterator[int],
        sources: Sequence[Source],
        formats: Sequence[InputFormat],
        outcomes: "dict[int, Decoded | _Refusal]",
        tell: Callable[[], None],
    ) -> None:
        """Take from `waiting`, which several of these share, and put what it gives into `outcomes`."""
        for index in waiting:
            source = sources[index]
            try:
                outcomes[index] = await self._decoded(source, formats)
            except ImageError as error:
                item = BadItem(source.pointer, error.problem_type(), error.message, source.upload.filename)
                outcomes[index] = _Refusal(item, error.status)
            tell()

    async def _decoded(self, source: Source, formats: Sequence[InputFormat]) -> Decoded:
        size_bytes, most = source.upload.size_bytes, self.limits.file_bytes
        if size_bytes > most:
            raise ImageTooLarge(f"the file has {size_bytes} bytes, at most {most} are allowed")
        if size_bytes <= _SMALL_BYTES and not source.blocks:
            try:
                decoded = _decode(source.upload, formats, min(_SMALL_PIXELS, self.limits.image_pixels))
            except ImageTooLarge:
                pass  # small in bytes only: not for the loop
            else:
                await asyncio.sleep(0)  # others may pass between the images of one request
                return decoded
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, _decode, source.upload, formats, self.limits.image_pixels)


@dataclass(frozen=True, slots=True)
class _Refusal:
    item: BadItem
    status: int


def _decode(upload: Upload, formats: Sequence[InputFormat], max_pixels: int) -> Decoded:
    return imaging.decode(upload.read(), formats, max_pixels=max_pixels)


def _rejected(refusals: Sequence[_Refusal], n_images: int) -> UploadRejected:
    statuses = {refusal.status for refusal in refusals}
    status = statuses.pop() if len(statuses) == 1 and statuses <= _AGREEING else 422
    items = tuple(refusal.item for refusal in refusals)
    detail = items[0].detail if n_images == 1 else f"{len(items)} of {n_images} images cannot be used"
    return UploadRejected(detail, items, status)
