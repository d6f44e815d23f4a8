"""The support set of a version as the engine takes it: stored features where there are some, else pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

import numpy as np

from service.artifacts import ArtifactStore
from service.engine.base import AdaptRequest, FeatureRow, Pixels
from service.errors import BaseModelGone, ExamplesNotKept
from service.metalearning.header import InputFormat
from service.persistence.database import Database
from service.persistence.orm import Version
from service.persistence.records import ClassCount, SupportRow
from service.persistence.versions import VersionRows
from service.telemetry import current_request_id
from service.usecases.base_models import BaseModelCard, BaseModels
from service.usecases.decoding import Decoder, Source
from service.usecases.plans import offered, options_of, prior_of, prior_of_classes
from service.usecases.uploads import Upload


@dataclass(frozen=True, slots=True, eq=False)
class Support:
    """A support set in the order of its classes.

    Attributes:
        labels: class of each example, 0..n_way-1.
        features: where the features of each example are stored; None where its pixels are sent.
        pixels: of the examples whose features are None.
        sent: the ids of these examples, in the same order.
        example_ids: of all examples.
        groups: of each example the client's name of its group, or None.
    """

    labels: tuple[int, ...]
    features: tuple[FeatureRow | None, ...]
    pixels: Pixels
    sent: tuple[UUID, ...]
    example_ids: tuple[UUID, ...]
    groups: tuple[str | None, ...]

    @property
    def uses_features(self) -> bool:
        """Whether some examples are not sent as pixels."""
        return len(self.sent) < len(self.labels)


class Supports:
    """Reads support sets from what is stored."""

    def __init__(self, database: Database, artifacts: ArtifactStore, base_models: BaseModels, decoder: Decoder) -> None:
        self._versions = VersionRows(database)
        self._artifacts = artifacts
        self._base_models = base_models
        self._decoder = decoder

    async def load(self, version: Version, *, with_features: bool = True) -> Support:
        """The support set of a stored version.

        Raises:
            BaseModelGone: the version's base model is not loaded.
            UploadRejected, ArtifactError: an original cannot be used any more.
            ExamplesNotKept: an original that is needed is not kept.
        """
        card = self._base_model(version)
        rows = await self._versions.support(version)
        with_features = with_features and offered(card, version.learner).adapts == "head"
        features = tuple(FeatureRow(*row.features) if row.features and with_features else None for row in rows)
        sent = [row for row, feature in zip(rows, features, strict=True) if feature is None]
        pixels = await self._pixels(sent, card.header.input)
        return Support(
            labels=tuple(row.label for row in rows),
            features=features,
            pixels=pixels,
            sent=tuple(row.example_id for row in sent),
            example_ids=tuple(row.example_id for row in rows),
            groups=tuple(row.group for row in rows),
        )

    def pixels_bytes(self, version: Version) -> int:
        """Most bytes that the pixels of a version's support set take; 0 if its base model is not loaded."""
        card = self._base_models.by_digest(version.base_model_digest)
        if card is None:
            return 0
        wanted = card.header.input
        n_examples: int = sum(n_examples for _, n_examples in version.classes)
        return n_examples * wanted.channels * wanted.side_px * wanted.side_px

    def request(self, version: Version, support: Support) -> AdaptRequest:
        """What the engine is asked for.

        Raises:
            BaseModelGone: the version's base model is not loaded.
        """
        offer = offered(self._base_model(version), version.learner)
        counts = [ClassCount(label, n_examples) for label, n_examples in version.classes]
        return AdaptRequest(
            base_model=version.base_model_digest,
            learner=version.learner,
            options=options_of(version.settings, offer),
            labels=support.labels,
            features=support.features,
            pixels=support.pixels,
            groups=_numbered(support.groups),
            prior=prior_of_classes(prior_of(version.settings), counts),
            request_id=current_request_id(),
        )

    def _base_model(self, version: Version) -> BaseModelCard:
        card = self._base_models.by_digest(version.base_model_digest)
        if card is None:
            raise BaseModelGone(
                f"base model {version.base_model!r} of digest {version.base_model_digest} is not loaded"
            )
        return card

    async def _pixels(self, rows: Sequence[SupportRow], wanted: InputFormat) -> Pixels:
        reads = [(row.example_id, partial(self._artifacts.get, _original(row))) for row in rows]
        sources = [Source(Upload(None, 0, read), f"/examples/{id_}", blocks=True) for id_, read in reads]
        decoded = await self._decoder.decode(sources, [wanted])
        return stacked([image.arrays[0] for image in decoded], wanted)


def _numbered(groups: Sequence[str | None]) -> tuple[int | None, ...]:
    """A number for each group; empty where there is none."""
    numbers = {group: index for index, group in enumerate(dict.fromkeys(groups)) if group is not None}
    return tuple(None if group is None else numbers[group] for group in groups) if numbers else ()


def _original(row: SupportRow) -> str:
    if row.digest is None:
        raise ExamplesNotKept(f"the original of example {row.example_id} is not kept, and it is needed for this")
    return row.digest


def stacked(arrays: Sequence[Pixels], wanted: InputFormat) -> Pixels:
    """Arrays of one input format as one, also if there are none."""
    shape = (len(arrays), wanted.channels, wanted.side_px, wanted.side_px)
    return np.stack(arrays) if arrays else np.empty(shape, np.uint8)
