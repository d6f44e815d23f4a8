"""Exports in a process of their own: every way in which they can fail. `tests/api` has one that does not."""

import asyncio
import dataclasses
from pathlib import Path

import pytest

from service.artifacts import FileArtifacts
from service.engine.exporting import MOST_WAITING, Exporter, ExportJob
from service.engine.messages import WorkerOptions
from service.engine.worker import Worker
from service.errors import ArtifactMissing, DeadlineExceeded, EngineBusy
from tests.engine.conftest import ToyModel
from tests.engine.toy_tasks import toy_support


@pytest.fixture
def job(toy: ToyModel, tmp_path: Path) -> ExportJob:
    worker = Worker(WorkerOptions((str(toy.path),), str(tmp_path), "cpu"), store=FileArtifacts(tmp_path))
    return ExportJob(toy.path, worker.adapt(toy_support(toy.digest)).artifact, {"labels": "[]"})


async def test_what_is_wrong_comes_back_as_its_class(job: ExportJob, tmp_path: Path) -> None:
    with pytest.raises(ArtifactMissing):
        await Exporter(tmp_path).export(dataclasses.replace(job, artifact="0" * 64))


async def test_an_export_that_takes_too_long_is_ended(job: ExportJob, tmp_path: Path) -> None:
    with pytest.raises(DeadlineExceeded):
        await Exporter(tmp_path, deadline_s=0.05).export(job)


async def test_exports_that_wait_are_bounded(job: ExportJob, tmp_path: Path) -> None:
    exporter = Exporter(tmp_path)
    waiting = [asyncio.create_task(exporter.export(job)) for _ in range(MOST_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(EngineBusy):
        await exporter.export(job)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
