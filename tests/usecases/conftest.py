"""The use cases on a SQLite file, a folder of artifacts, two base models, and an engine that is not real."""

import io
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file
from sqlalchemy.ext.asyncio import AsyncSession

from service.artifacts import FileArtifacts
from service.errors import Unavailable
from service.metalearning.header import (
    METADATA_KEY,
    BackboneSpec,
    BaseModelHeader,
    InputFormat,
    LearnerOffer,
    PixelScaling,
    header_to_json,
)
from service.persistence.database import Database
from service.usecases.base_models import BaseModels
from service.usecases.classes import TaskClasses
from service.usecases.decoding import Decoder
from service.usecases.feedback import Feedback
from service.usecases.life import TaskLife
from service.usecases.limits import Limits
from service.usecases.nearest import NearestExamples
from service.usecases.new_tasks import NewTask
from service.usecases.predictions import Predictions
from service.usecases.serving import ServingVersions
from service.usecases.suggestions import Suggestions
from service.usecases.tasks import Tasks
from service.usecases.uploads import LabelledUpload, Upload
from service.usecases.views import TaskView
from tests.databases import migrated_postgresql_url, migrated_sqlite_file, postgresql_url
from tests.fakes import FakeEngine

__all__ = ["migrated_postgresql_url", "migrated_sqlite_file", "postgresql_url"]

LIMITS = Limits(file_bytes=100_000, support_images=20, max_classes=5, prediction_images=8, image_pixels=250_000)


@dataclass
class House:
    """Everything that a request would meet, and the parts that a test looks into."""

    database: Database
    engine: FakeEngine
    artifacts: FileArtifacts
    base_models: BaseModels
    decoder: Decoder
    serving: ServingVersions
    tasks: Tasks
    predictions: Predictions
    folder: Path

    @property
    def life(self) -> TaskLife:
        """What changes a task."""
        return TaskLife(self.database, self.base_models, LIMITS, self.serving)

    @property
    def classes(self) -> TaskClasses:
        """What changes the classes of a task."""
        return TaskClasses(self.database, LIMITS)

    @property
    def suggestions(self) -> Suggestions:
        """What says which images to label."""
        return Suggestions(self.database, self.engine, self.base_models, self.decoder, self.serving)

    @property
    def feedback(self) -> Feedback:
        """What a task learns from."""
        tasks = self.tasks
        return Feedback(
            self.database, self.engine, self.base_models, LIMITS, intake=tasks.intake, adaptations=tasks.adaptations
        )

    async def restart(self) -> None:
        """Another process on the same data: nothing is left of the one before."""
        self.serving = ServingVersions(self.database)
        self.tasks = Tasks(self.database, self.engine, self.artifacts, self.base_models, self.decoder, self.serving)
        self.predictions = Predictions(
            self.engine, self.base_models, self.decoder, self.serving, NearestExamples(self.database, self.engine)
        )
        await self.tasks.start()

    async def ready_task(self, **settings: Any) -> TaskView:  # noqa: ANN401  # fields of NewTask
        """A task with two classes, dark and bright, that is ready."""
        task, _ = await self.tasks.create(NewTask(**{"uploads": dark_and_bright(), **settings}), wait_s=5)
        assert task.state == "ready"
        return task


@pytest.fixture
async def house(tmp_path: Path, migrated_sqlite_file: Path) -> AsyncIterator[House]:
    url = f"sqlite:///{shutil.copy(migrated_sqlite_file, tmp_path / 'handful.db')}"
    async with open_house(url, tmp_path) as opened:
        yield opened


@asynccontextmanager
async def open_house(url: str, folder: Path) -> AsyncIterator[House]:
    """A house on a database with tables; several may share it and the folder."""
    save_base_model(folder / "models" / "drawn.safetensors", id_="drawn", suits="drawings", channels=1)
    save_base_model(folder / "models" / "photo.safetensors", id_="photo", suits="photographs", channels=3)
    database, artifacts = Database(url), FileArtifacts(folder / "artifacts")
    engine, base_models, decoder = FakeEngine(artifacts), BaseModels([folder / "models"]), Decoder(LIMITS)
    serving = ServingVersions(database)
    tasks = Tasks(database, engine, artifacts, base_models, decoder, serving)
    predictions = Predictions(engine, base_models, decoder, serving, NearestExamples(database, engine))
    opened = House(database, engine, artifacts, base_models, decoder, serving, tasks, predictions, folder)
    await tasks.start()
    try:
        yield opened
    finally:
        await opened.tasks.stop(grace_s=1)
        decoder.close()
        await database.close()


class Away(Database):
    """A database that cannot be read while `is_away`, or once something was written if it `is_away_after_writing`."""

    is_away = is_away_after_writing = False

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        if self.is_away:
            raise Unavailable("the database does not answer")
        async with super().read() as session:
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        async with super().write() as session:
            yield session
        self.is_away = self.is_away or self.is_away_after_writing


@pytest.fixture
async def away(house: House) -> AsyncIterator[tuple[Away, Tasks]]:
    """The tasks of the house on a database that can go away, and it."""
    database = Away(f"sqlite:///{house.folder / 'handful.db'}")
    serving = ServingVersions(database)
    tasks = Tasks(database, house.engine, house.artifacts, house.base_models, house.decoder, serving)
    yield database, tasks
    await tasks.stop()
    await database.close()


def save_base_model(path: Path, *, id_: str, suits: str, channels: int, note: str = "") -> None:
    """A checkpoint with a header and next to no tensors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = BaseModelHeader(
        id=id_,
        purpose="tests",
        suits=suits,  # type: ignore[arg-type]  # one of two words
        backbone=BackboneSpec("tiny"),
        n_features=1,
        input=InputFormat(8, channels),
        scaling=PixelScaling((0.0,) * channels, (1.0,) * channels),
        learners={
            "ridge": LearnerOffer("head", {"penalty": 1.0}),
            "maml": LearnerOffer("network", {"steps": 5, "lr": 0.1}),
        },
        provenance={"note": note},
    )
    save_file({"head.bias": np.zeros(1, np.float32)}, path, metadata={METADATA_KEY: header_to_json(header)})


def png(level: int | tuple[int, int, int], side_px: int = 10) -> bytes:
    """A PNG file of one colour, or one level of grey."""
    mode = "L" if isinstance(level, int) else "RGB"
    buffer = io.BytesIO()
    Image.new(mode, (side_px, side_px), level).save(buffer, "PNG")
    return buffer.getvalue()


def upload(data: bytes, filename: str | None = "image.png") -> Upload:
    return Upload(filename, len(data), lambda: data)


def labelled(*pairs: tuple[str, bytes]) -> tuple[LabelledUpload, ...]:
    """Uploads with their labels, as a form would give them."""
    return tuple(LabelledUpload(label, upload(data), f"/files/{index}") for index, (label, data) in enumerate(pairs))


def dark_and_bright() -> tuple[LabelledUpload, ...]:
    """Two grey examples each of two classes, neither of which is a drawing."""
    return labelled(("dark", png(60)), ("bright", png(190)), ("dark", png(70)), ("bright", png(200)))
