"""Files that a client sent, not yet read."""

from collections.abc import Callable
from dataclasses import dataclass


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
    """

    label: str
    upload: Upload
    pointer: str
