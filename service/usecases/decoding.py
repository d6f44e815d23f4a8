"""Uploads become arrays: a bounded number of images at a time, off the event loop unless they are small.

Why small ones stay on the loop: for at most 64 kB and 0.1 megapixel, handing the work to a thread costs more than it.
Why no more of one request than there are threads waits for them: the image of a prediction then stands behind a few
images of a large upload, never behind all of them.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from service import imaging
from service.errors import BadItem, ImageError, ImageTooLarge, UploadRejected
from service.imaging import Decoded
from service.metalearning.header import InputFormat
from service.usecases.limits import Limits
from service.usecases.uploads import Upload

_SMALL_BYTES = 64_000
_SMALL_PIXELS = 100_000
_AGREEING = frozenset({413, 415})


@dataclass(frozen=True, slots=True)
class Source:
    """An image to decode: an upload, where it stands in its request, and whether reading it may block."""

    upload: Upload
    pointer: str
    blocks: bool = False


class Decoder:
    """The decode threads of the process, shared by every use case; `close` ends them."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._threads = ThreadPoolExecutor(limits.decodes_in_flight, thread_name_prefix="decode")

    def close(self) -> None:
        """End the threads; what they decode is finished first."""
        self._threads.shutdown()

    async def decode(self, sources: Sequence[Source], formats: Sequence[InputFormat]) -> tuple[Decoded, ...]:
        """Every image in every format.

        Raises:
            UploadRejected: some image cannot be used; it names them all.
        """
        outcomes: dict[int, Decoded | _Refusal] = {}
        waiting = iter(range(len(sources)))
        lanes = min(self.limits.decodes_in_flight, len(sources))
        try:
            await asyncio.gather(*(self._decode_some(waiting, sources, formats, outcomes) for _ in range(lanes)))
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
    ) -> None:
        """Take from `waiting`, which several of these share, and put what it gives into `outcomes`."""
        for index in waiting:
            source = sources[index]
            try:
                outcomes[index] = await self._decoded(source, formats)
            except ImageError as error:
                item = BadItem(source.pointer, error.problem_type(), error.message, source.upload.filename)
                outcomes[index] = _Refusal(item, error.status)

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
