"""Exports in a process of their own: what is traced once, and every way in which they can fail."""

import asyncio
import dataclasses
from pathlib import Path

import pytest
from safetensors.numpy import load

from service.artifacts import FileArtifacts
from service.engine.exporting import MOST_WAITING, Exporter, ExportJob
from service.engine.messages import WorkerOptions
from service.engine.templates import FOLDER
from service.engine.worker import Worker
from service.errors import ArtifactMissing, BaseModelGone, DeadlineExceeded, EngineBusy
from service.metalearning.onnx_files import onnx_file
from service.metalearning.onnx_template import onnx_template
from service.metalearning.serialization import load_base_model
from tests.engine.conftest import ToyModel
from tests.engine.toy_tasks import toy_support


@pytest.fixture
def job(toy: ToyModel, tmp_path: Path) -> ExportJob:
    worker = Worker(WorkerOptions((str(toy.path),), str(tmp_path), "cpu"), store=FileArtifacts(tmp_path))
    return ExportJob(toy.path, toy.digest, worker.adapt(toy_support(toy.digest)).artifact, {"labels": "[]"})


@pytest.mark.timeout(300)  # the trace yields to whatever else the machine does
async def test_a_base_model_is_traced_once_and_files_stay_the_same(job: ExportJob, tmp_path: Path) -> None:
    first = await Exporter(tmp_path).export(job)
    (template,) = (tmp_path / FOLDER).iterdir()
    since = template.stat().st_ino
    again = await Exporter(tmp_path).export(job)  # as after a restart
    other = await Exporter(tmp_path).export(dataclasses.replace(job, metadata={"labels": '["a"]'}))
    assert first == again != other
    assert [path.stat().st_ino for path in (tmp_path / FOLDER).iterdir()] == [since]
    model, task = load_base_model(job.base_model_file), load(FileArtifacts(tmp_path).get(job.artifact))
    expected = onnx_file(onnx_template(model, tells_unknown="head.unknown" in task), task, job.metadata)
    assert FileArtifacts(tmp_path).get(first) == expected


async def test_a_base_model_whose_file_was_changed_is_not_exported(job: ExportJob, tmp_path: Path) -> None:
    with pytest.raises(BaseModelGone, match="start it again"):
        await Exporter(tmp_path).export(dataclasses.replace(job, base_model="0" * 64))


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
