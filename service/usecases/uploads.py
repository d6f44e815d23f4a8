"""Files that a client sent, not yet read, and how their bytes are stored."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from service.artifacts import ArtifactStore

_BATCH_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Upload:
    """One file of a request.

    Attributes:
        filename: the name the client gave it, if it gave one.
        size_bytes: its length.
        read: its bytes; called in a decode thread, possibly more than once.
    """

    filename: str | None
    size_bytes: int
    read: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class LabelledUpload:
    """One support image as it was sent, with its class.

    Attributes:
        label: as the client wrote it, not yet trimmed.
        pointer: where the file stands in the request: `/files/3`, or `/archive/owl/3.png`.
        group: the client's name for what it belongs to: a burst, a slide, a part; None if it stands for itself.
        is_left_out: whether adaptations leave its class out, if the class comes with it.
    """

    label: str
    upload: Upload
    pointer: str
    group: str | None = None
    is_left_out: bool = False


async def store_uploads(artifacts: ArtifactStore, uploads: Sequence[Upload]) -> tuple[str, ...]:
    """Store the bytes of each upload and give the digests in order.

    Raises:
        StorageFull: there is no space left.
    """
    digests: list[str] = []
    for batch in _batches(uploads):
        digests += await asyncio.to_thread(_store, artifacts, batch)
    return tuple(digests)


def _store(artifacts: ArtifactStore, uploads: Sequence[Upload]) -> tuple[str, ...]:
    return artifacts.put_many([upload.read() for upload in uploads])


def _batches(uploads: Sequence[Upload]) -> Iterator[list[Upload]]:
    """The uploads in runs of at most _BATCH_BYTES, or of one that is larger: what is in memory at the same time."""
    batch: list[Upload] = []
    size_bytes = 0
    for upload in uploads:
        if batch and size_bytes + upload.size_bytes > _BATCH_BYTES:
            yield batch
            batch, size_bytes = [], 0
        batch.append(upload)
        size_bytes += upload.size_bytes
    if batch:
        yield batch
