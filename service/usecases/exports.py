"""Task models as files that run without Handful: ONNX, or the task parameters alone as safetensors."""

import asyncio
import json
import re
import struct
import unicodedata
from collections import OrderedDict
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.metadata import version as release_of
from typing import Final, Literal, TypeAlias
from uuid import UUID

from service.artifacts import ArtifactStore
from service.engine.exporting import Exporter, ExportJob
from service.errors import ArtifactMissing, BaseModelGone
from service.metalearning.header import backbone_licence
from service.persistence.database import Database
from service.persistence.orm import Version
from service.persistence.tasks import StoredTask, TaskRows
from service.persistence.versions import VersionRows
from service.usecases.base_models import BaseModelCard, BaseModels
from service.usecases.serving import ServingVersion, ServingVersions

ExportFormat: TypeAlias = Literal["onnx", "safetensors"]

_SIZE: Final = struct.Struct("<Q")
_MOST_KNOWN = 1_000
_UNUSUAL = re.compile(r"[^\w.-]+")
_FILENAME_CHARS = 100


@dataclass(frozen=True, slots=True, eq=False)
class ExportedFile:
    """A file for the client."""

    filename: str
    data: bytes


class Exports:
    """Exports versions; a file that was made is kept until the sweep finds that no row names it."""

    def __init__(
        self,
        database: Database,
        artifacts: ArtifactStore,
        base_models: BaseModels,
        serving: ServingVersions,
        exporter: Exporter,
    ) -> None:
        self._tasks = TaskRows(database)
        self._versions = VersionRows(database)
        self._artifacts = artifacts
        self._base_models = base_models
        self._serving = serving
        self._exporter = exporter
        self._made: OrderedDict[str, str] = OrderedDict()  # what was asked for -> digest of the file

    async def export(self, task_id: UUID, kind: ExportFormat, *, version: int | None = None) -> ExportedFile:
        """The model of a version as a file.

        Raises:
            TaskNotFound, VersionNotFound, TaskNotReady: there is nothing to export.
            BaseModelGone: the version's base model is not loaded.
            EngineBusy, WorkerDied, DeadlineExceeded: try again later.
        """
        serving = await self._serving.get(task_id, version)
        card = self._base_models.by_digest(serving.base_model_digest)
        if card is None:
            raise BaseModelGone(f"base model {serving.base_model_digest} of version {serving.number} is not loaded")
        task = await self._tasks.get(task_id)
        metadata = _metadata(task, await self._versions.get(task_id, serving.number), serving, card)
        if kind == "onnx":
            data = await self._onnx(serving.artifact, metadata, card)
        else:
            data = with_metadata(await asyncio.to_thread(self._artifacts.get, serving.artifact), metadata)
        return ExportedFile(_filename(task, serving.number, kind), data)

    async def _onnx(self, artifact: str, metadata: dict[str, str], card: BaseModelCard) -> bytes:
        key = sha256(json.dumps([artifact, metadata], sort_keys=True).encode()).hexdigest()
        if key in self._made:
            with suppress(ArtifactMissing):  # it was swept
                return await asyncio.to_thread(self._artifacts.get, self._made[key])
        digest = await self._exporter.export(ExportJob(card.path, card.digest, artifact, metadata))
        self._made[key] = digest
        if len(self._made) > _MOST_KNOWN:
            self._made.popitem(last=False)
        return await asyncio.to_thread(self._artifacts.get, digest)


def with_metadata(data: bytes, metadata: dict[str, str]) -> bytes:
    """The tensors of a safetensors file, bit-equal, under other metadata.

    The file is the size of its header, the header as JSON, and the tensors, whose places count from there.
    """
    end = _SIZE.size + _SIZE.unpack_from(data)[0]
    header = json.loads(data[_SIZE.size : end]) | {"__metadata__": metadata}
    text = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # so that the tensors stay aligned
    return _SIZE.pack(len(text)) + text + data[end:]


def _metadata(task: StoredTask, version: Version, serving: ServingVersion, card: BaseModelCard) -> dict[str, str]:
    """All that whoever runs the file needs to know; JSON where a value is no text."""
    header = card.header
    return {
        "labels": json.dumps(serving.labels, ensure_ascii=False),
        "input": json.dumps({**asdict(header.input), "layout": "NCHW", "dtype": "uint8"}),
        "preprocessing": _preprocessing(card),
        "threshold": json.dumps(serving.threshold),
        "task_id": str(task.row.id),
        "task_name": task.row.name or "",
        "version": str(serving.number),
        "learner": version.learner,
        "settings": json.dumps(version.settings, ensure_ascii=False),
        "artifact_digest": serving.artifact,
        "base_model": header.id,
        "base_model_digest": card.digest,
        "base_model_provenance": json.dumps(header.provenance, ensure_ascii=False),
        "licence": backbone_licence(header.backbone),
        "handful": release_of("handful"),
    }


def _preprocessing(card: BaseModelCard) -> str:
    wanted = card.header.input
    colour = "grey (luminance)" if wanted.channels == 1 else "RGB"
    fitted = (
        f"scaled to a longest side of {wanted.side_px} px and centred on white"
        if wanted.fit == "pad"
        else f"scaled to {wanted.side_px} x {wanted.side_px} px whatever its shape"
    )
    return (
        f"turn the image upright by EXIF, lay it on white where it is transparent, {colour}, {fitted} with Pillow's "
        f"{wanted.resampling.upper()} filter; uint8, channels first; the graph does the rest"
    )


def _filename(task: StoredTask, number: int, kind: ExportFormat) -> str:
    """A name for the file, of letters, digits, `.`, `_` and `-`."""
    name = unicodedata.normalize("NFC", task.row.name or "")
    stem = _UNUSUAL.sub("-", name).strip(".-")[:_FILENAME_CHARS] or str(task.row.id)
    return f"{stem}-{number}.{kind}"
