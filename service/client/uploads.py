"""What is sent: options, and images that are opened one at a time, never all in memory."""

import io
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias, TypedDict

from service.client.connection import Connection
from service.errors import InvalidRequest
from service.wording import counted

PART_OVERHEAD_BYTES = 1024
"""Room that one image's headers and label take in a multipart body."""

UNNAMED = "image"
"""Name of what was given as bytes: without one, a part of a form is a text field."""


@dataclass(frozen=True, slots=True)
class ImageSource:
    """An image that is opened when it is sent.

    Attributes:
        name: the file name that the service is told, if any.
        open: a new stream of the bytes, from the start.
    """

    name: str | None
    size_bytes: int
    open: Callable[[], BinaryIO]

    def stream(self) -> Iterator[bytes]:
        """The bytes in pieces."""
        with self.open() as file:
            while piece := file.read(64 * 1024):
                yield piece


Image: TypeAlias = bytes | str | os.PathLike[str] | ImageSource
LabelledImage: TypeAlias = tuple[str, Image]
LabelledImages: TypeAlias = Mapping[str, Iterable[Image]] | Iterable[LabelledImage] | str | os.PathLike[str]
"""Images by label, (label, image) pairs, or the path of a zip with a folder for each class: what the page saves, with
the groups and the classes left out that are told by its `handful.json`."""


Prior: TypeAlias = Literal["balanced", "support"] | Mapping[str, float]
"""How often each class is expected: equally, as in the examples, or a weight by label."""


class TaskOptions(TypedDict, total=False):
    """How a task is to be adapted, and what to remember about it.

    Attributes:
        base_model: chosen by the service from the images where it is not given.
        learner: the base model's default where it is not given.
        prior: how often each class is expected; equally where it is not given.
        metadata: strings by key, to find the task by.
        store: what is kept of the uploads once the task is adapted; the images where it is not given.
        threshold: answers below it are marked; the suggested one where it is not given.
        keep_s: seconds until the task is removed; for good where it is not given.
    """

    base_model: str | None
    learner: str | None
    prior: Prior | None
    metadata: Mapping[str, str] | None
    store: Literal["images", "features", "nothing"] | None
    threshold: float | None
    keep_s: float | None


class TaskChanges(TypedDict, total=False):
    """What to change of a task; what is left out stays as it is.

    Attributes:
        name: None takes it away.
        metadata: pairs to set; a key with None is removed, others stay; None removes all.
        threshold: answers below it are marked; None takes the suggested one.
        store: what is kept of the uploads.
        keep_s: seconds from now until the task is removed; None keeps it for good.
    """

    name: str | None
    metadata: Mapping[str, str | None] | None
    threshold: float | None
    store: Literal["images", "features", "nothing"]
    keep_s: float | None


def image_source(image: Image) -> ImageSource:
    """The source of an image given as bytes, as a path, or as a source.

    Raises:
        InvalidRequest: the path is not a file that can be read.
    """
    if isinstance(image, ImageSource):
        return image
    if isinstance(image, bytes):
        return ImageSource(None, len(image), lambda: io.BytesIO(image))
    path = Path(image)
    if not path.is_file():
        raise InvalidRequest(f"{path} is not a file")
    name = os.fsencode(path.name).decode("utf-8", "replace")  # a name on a disk need not be text
    return ImageSource(name, path.stat().st_size, lambda: path.open("rb"))


@dataclass(frozen=True, slots=True)
class LabelledParts:
    """Labelled images as parts of a form.

    Attributes:
        labels: one for each of the files; empty where the files are one archive.
        n_images: how many there are, or files in the archive.
    """

    labels: list[str]
    files: list[tuple[str, tuple[str, io.RawIOBase]]]
    n_images: int


def labelled_parts(examples: LabelledImages) -> LabelledParts:
    """Each image with its label, in the given order, or an archive that says them itself.

    Raises:
        InvalidRequest: a path is not a file that can be read, or a label is no text.
    """
    if isinstance(examples, str | os.PathLike):
        return _archive_parts(image_source(examples))
    if isinstance(examples, Mapping):
        pairs: Iterable[LabelledImage] = [(label, image) for label, images in examples.items() for image in images]
    else:
        pairs = examples
    labelled = [(_checked(label), image_source(image)) for label, image in pairs]
    return LabelledParts([label for label, _ in labelled], file_parts([each for _, each in labelled]), len(labelled))


def _archive_parts(source: ImageSource) -> LabelledParts:
    try:
        with source.open() as file, zipfile.ZipFile(file) as archive:
            n_images = len(archive.namelist())
    except zipfile.BadZipFile:
        raise InvalidRequest(f"{source.name} is no zip; give images by label, or the path of a zip of them") from None
    return LabelledParts([], [("archive", (source.name or "archive.zip", _SentFile(source)))], n_images)


def send_labelled(  # noqa: PLR0913  # what a form and its request have
    connection: Connection,
    path: str,
    examples: LabelledImages,
    *,
    fields: Mapping[str, Any] | None = None,
    groups: Sequence[str | None] | None = None,
    wait_s: float = 0.0,
    key: str | None,
) -> dict[str, Any]:
    """The answer to a form of labelled images and other fields; made once, see `Connection.make`.

    Args:
        connection: to the service.
        path: of the address.
        examples: the images.
        fields: those that are not None are sent.
        groups: one for each image, or None.
        wait_s: what the fields ask the service to wait; an image may take a second more.
        key: idempotency key.

    Raises:
        InvalidRequest: there is no image, not one group for each, or groups beside a zip.
    """
    parts = labelled_parts(examples)
    if not parts.n_images:
        raise InvalidRequest("there are no images to send")
    data = given(dict(fields or {})) | {"labels": parts.labels}
    if groups is not None:
        if not parts.labels:
            raise InvalidRequest("a zip names its groups itself, in its handful.json; give none beside it")
        if len(groups) != len(parts.labels):
            counts = f"{counted(len(parts.labels), 'image')} but {counted(len(groups), 'group')}"
            raise InvalidRequest(f"{counts}; give one for each, or None")
        data["groups"] = [group or "" for group in groups]
    wait_s += parts.n_images
    answer: dict[str, Any] = connection.make(path, key=key, data=data, files=parts.files, wait_s=wait_s).json()
    return answer


def file_parts(sources: Sequence[ImageSource]) -> list[tuple[str, tuple[str, io.RawIOBase]]]:
    """The `files` parts of a multipart body; each file is open only while it is being sent."""
    return [("files", (source.name or UNNAMED, _SentFile(source))) for source in sources]


def batches(sizes_bytes: Iterable[int], *, max_images: int, max_bytes: int) -> Iterator[slice]:
    """Slices of consecutive images that fit into one request each; an image larger than all stands alone."""
    start, end, total = 0, 0, 0
    for end, size in enumerate(sizes_bytes, start=1):
        total += size + PART_OVERHEAD_BYTES
        if end - start > max_images or (total > max_bytes and end - start > 1):
            yield slice(start, end - 1)
            start, total = end - 1, size + PART_OVERHEAD_BYTES
    if end > start:
        yield slice(start, end)


def form_fields(options: TaskOptions) -> dict[str, Any]:
    """The options as form fields: what is a mapping is JSON."""
    fields = given(dict(options)).items()
    return {name: json.dumps(dict(value)) if isinstance(value, Mapping) else value for name, value in fields}


def given(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def _checked(label: str) -> str:
    try:
        label.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"the label {label!a} is no text: the folder's name is not UTF-8; rename it") from None
    return label


class _SentFile(io.RawIOBase):
    """A file of known length for httpx's multipart encoder, which asks for its length, rewinds it and reads it once.

    Why: a request may hold more files than a process may have open.
    """

    def __init__(self, source: ImageSource) -> None:
        self._source = source
        self._file: BinaryIO | None = None
        self._position = 0

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._source.size_bytes}[whence]
        self._position = base + offset
        self._close()
        return self._position

    def read(self, size: int = -1) -> bytes:
        if self._file is None:
            self._file = self._source.open()
        piece = self._file.read(size)
        if not piece:
            self._close()
        return piece

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
