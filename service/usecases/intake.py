"""Labelled uploads on their way in: labels checked, images decoded, bytes stored; rows are not written here."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from service.artifacts import ArtifactStore
from service.errors import RequestTooLarge
from service.imaging import Decoded
from service.persistence.ids import new_id
from service.persistence.records import ClassCount, ExampleRecord
from service.usecases.base_models import BaseModelCard
from service.usecases.decoding import Decoder, Source
from service.usecases.supports import Support, stacked
from service.usecases.texts import checked_group, checked_labels, stored_filename
from service.usecases.uploads import LabelledUpload, store_uploads


@dataclass(frozen=True, slots=True, eq=False)
class DecodedUploads:
    """Uploads that can be used.

    Attributes:
        labels: as they are stored, one an upload.
        cards: the base models whose input formats the images were decoded to.
    """

    uploads: tuple[LabelledUpload, ...]
    labels: tuple[str, ...]
    images: tuple[Decoded, ...]
    cards: tuple[BaseModelCard, ...]

    @property
    def classes(self) -> tuple[ClassCount, ...]:
        """The classes in order of appearance."""
        return class_counts(self.labels)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Labels of the classes that are to be left out, in order of appearance."""
        return left_out(self.uploads, self.labels)

    @property
    def taken(self) -> tuple[ClassCount, ...]:
        """The classes to adapt to, in order of appearance."""
        without = self.left_out
        return tuple(each for each in self.classes if each.label not in without)

    @property
    def looks_drawn(self) -> tuple[bool, ...]:
        """What is known of each image to adapt to, for the choice of a base model."""
        without = self.left_out
        return tuple(
            image.looks_drawn for image, label in zip(self.images, self.labels, strict=True) if label not in without
        )

    def support(self, card_id: str, examples: Sequence[ExampleRecord]) -> Support:
        """The uploads as the support set that a first version gets from these rows."""
        position = next(index for index, card in enumerate(self.cards) if card.id == card_id)
        class_of = {each.label: index for index, each in enumerate(self.taken)}
        taken = [index for index in range(len(examples)) if self.labels[index] in class_of]
        order = sorted(taken, key=lambda index: class_of[self.labels[index]])
        pixels = stacked([self.images[index].arrays[position] for index in order], self.cards[position].header.input)
        labels = tuple(class_of[self.labels[index]] for index in order)
        ids = tuple(examples[index].id for index in order)
        groups = tuple(examples[index].group for index in order)
        return Support(labels, (None,) * len(order), pixels, ids, ids, groups)


class Intake:
    """Takes labelled uploads in, all or none."""

    def __init__(self, artifacts: ArtifactStore, decoder: Decoder) -> None:
        self._artifacts = artifacts
        self._decoder = decoder

    def check(self, uploads: Sequence[LabelledUpload]) -> tuple[str, ...]:
        """The labels as they are stored; reads no image.

        Raises:
            RequestTooLarge: there are too many images or bytes.
            UploadRejected: some labels cannot be used.
        """
        limits = self._decoder.limits
        if len(uploads) > limits.support_images:
            raise RequestTooLarge(f"there are {len(uploads)} images, a task has at most {limits.support_images}")
        size_bytes = sum(each.upload.size_bytes for each in uploads)
        if size_bytes > limits.request_bytes:
            raise RequestTooLarge(f"the images have {size_bytes} bytes, at most {limits.request_bytes} are allowed")
        return checked_labels(uploads, limits)

    def room(
        self, uploads: Sequence[LabelledUpload], cards: Sequence[BaseModelCard]
    ) -> AbstractAsyncContextManager[None]:
        """Room in memory for the uploads as `decode` gives them: see `Decoder.room`."""
        return self._decoder.room(len(uploads), [card.header.input for card in cards])

    async def take_in(self, uploads: Sequence[LabelledUpload], cards: Sequence[BaseModelCard]) -> list[ExampleRecord]:
        """Decode and store, without keeping the pixels.

        Raises:
            EngineBusy: other uploads hold the memory for it.
            UploadRejected, RequestTooLarge, StorageFull: as for `decode` and `store`.
        """
        async with self.room(uploads, cards):
            return await self.store(await self.decode(uploads, cards))

    async def decode(self, uploads: Sequence[LabelledUpload], cards: Sequence[BaseModelCard]) -> DecodedUploads:
        """The images in the input format of each base model; nothing is stored.

        Raises:
            UploadRejected: some images cannot be used; it names them all.
            RequestTooLarge: as for `check`.
        """
        labels = self.check(uploads)
        sources = [Source(each.upload, each.pointer) for each in uploads]
        images = await self._decoder.decode(sources, [card.header.input for card in cards])
        return DecodedUploads(tuple(uploads), labels, images, tuple(cards))

    async def store(self, decoded: DecodedUploads) -> list[ExampleRecord]:
        """Store the original bytes; gives the rows that name them.

        Raises:
            StorageFull: there is no space left.
        """
        digests = await store_uploads(self._artifacts, [each.upload for each in decoded.uploads])
        rows = zip(decoded.uploads, decoded.labels, decoded.images, digests, strict=True)
        without = decoded.left_out
        return [
            _record(each, label, image, digest, is_left_out=label in without) for each, label, image, digest in rows
        ]


def class_counts(labels: Sequence[str]) -> tuple[ClassCount, ...]:
    """The labels in order of appearance, each with how often it appears."""
    counts = dict.fromkeys(labels, 0)
    for label in labels:
        counts[label] += 1
    return tuple(ClassCount(label, n_examples) for label, n_examples in counts.items())


def left_out(uploads: Sequence[LabelledUpload], labels: Sequence[str]) -> tuple[str, ...]:
    """Those of the labels whose uploads say that their class is to be left out, in order of appearance."""
    return tuple(dict.fromkeys(label for each, label in zip(uploads, labels, strict=True) if each.is_left_out))


def _record(each: LabelledUpload, label: str, image: Decoded, digest: str, *, is_left_out: bool) -> ExampleRecord:
    return ExampleRecord(
        id=new_id(),
        label=label,
        digest=digest,
        filename=stored_filename(each.upload.filename),
        media_type=image.media_type,
        size_bytes=each.upload.size_bytes,
        width_px=image.width_px,
        height_px=image.height_px,
        looks_drawn=image.looks_drawn,
        group=checked_group(each.group),
        is_left_out=is_left_out,
    )
