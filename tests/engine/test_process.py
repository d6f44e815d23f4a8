"""How the process engine starts and stops, and what it leaves behind."""

import asyncio
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from service.engine.messages import Frame, WorkerOptions
from service.engine.patience import Patience
from service.engine.process import ProcessEngine
from service.engine.worker_process import WorkerProcess
from service.errors import CheckpointError, ConfigurationError, EngineNotReady, SetupError
from tests.engine.conftest import ToyModel
from tests.engine.toy_tasks import toy_query
from tests.engine.workers import adapted, first_child, has_ended, is_alive, resident_bytes, running, signalled

SCRIPT = """
import asyncio, json, sys
from pathlib import Path
from service.engine.process import ProcessEngine

async def main(base_model, artifacts):
    engine = ProcessEngine(base_model_files=[Path(base_model)], artifacts_root=Path(artifacts), device="cpu", threads=1)
    await engine.start()
    print(json.dumps({"worker": engine.worker_pid, "torch": "torch" in sys.modules}), flush=True)
    await asyncio.sleep(60)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_worker_that_cannot_come_back_is_told_in_bounded_time(toy: ToyModel, tmp_path: Path) -> None:
    moved = ToyModel(tmp_path / "toy.safetensors", toy.digest)
    moved.path.write_bytes(toy.path.read_bytes())
    async with running(moved, tmp_path / "artifacts", Patience(restart_s=0.5)) as engine:
        artifact = await adapted(engine, moved)
        moved.path.unlink()
        signalled(engine.worker_pid)
        with pytest.raises(EngineNotReady):
            await asyncio.wait_for(engine.predict(toy_query(toy.digest, artifact, [0]), deadline_s=30), 3)
        assert engine.stats().state == "restarting"


async def test_what_is_asked_while_the_worker_starts_waits_for_it(toy: ToyModel, tmp_path: Path) -> None:
    patience = Patience(restart_s=0.01)  # shorter than any start
    engine = ProcessEngine(base_model_files=[toy.path], artifacts_root=tmp_path, device="cpu", patience=patience)
    starting = asyncio.create_task(engine.start())
    await asyncio.sleep(0)
    assert engine.stats().state == "starting"
    artifact = await adapted(engine, toy)
    assert (await engine.predict(toy_query(toy.digest, artifact, [1]), deadline_s=30)).argmax() == 1
    await starting
    await engine.stop()


async def test_a_prediction_waits_for_a_worker_that_starts_no_longer_than_it_may(toy: ToyModel, tmp_path: Path) -> None:
    engine = ProcessEngine(base_model_files=[toy.path], artifacts_root=tmp_path, device="cpu")
    starting = asyncio.create_task(engine.start())
    await asyncio.sleep(0)
    with pytest.raises(EngineNotReady):
        await asyncio.wait_for(engine.predict(toy_query(toy.digest, "0" * 64, [0]), deadline_s=0.1), 1)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)


async def test_what_waits_for_a_worker_that_cannot_start_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(b"not a checkpoint at all")
    engine = ProcessEngine(base_model_files=[path], artifacts_root=tmp_path / "artifacts", device="cpu")
    starting = asyncio.create_task(engine.start())
    await asyncio.sleep(0)
    with pytest.raises(EngineNotReady):
        await engine.predict(toy_query("0" * 64, "0" * 64, [0]), deadline_s=60)
    with pytest.raises(CheckpointError):
        await starting


async def test_stop_answers_what_is_in_flight_and_ends_the_worker(toy: ToyModel, tmp_path: Path) -> None:
    async with running(toy, tmp_path) as engine:
        artifact = await adapted(engine, toy)
        pid = engine.worker_pid
        long = asyncio.create_task(adapted(engine, toy, learner="maml", n_shot=20, options={"steps": 50}))
        asked = [
            asyncio.create_task(engine.predict(toy_query(toy.digest, artifact, [n % 3]), deadline_s=30))
            for n in range(20)
        ]
        await asyncio.sleep(0)
        await engine.stop()
        assert [int((await answer).argmax()) for answer in asked] == [n % 3 for n in range(20)]
        assert len(await long) == 64
        assert not is_alive(pid)
        with pytest.raises(EngineNotReady):
            engine.reserve().__enter__()
        with pytest.raises(EngineNotReady):
            await engine.predict(toy_query(toy.digest, artifact, [0]), deadline_s=1)


async def test_a_missing_card_is_told_in_one_sentence(
    toy: ToyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    engine = ProcessEngine(base_model_files=[toy.path], artifacts_root=tmp_path, device="cuda")
    with pytest.raises(ConfigurationError, match="finds no CUDA card"):
        await engine.start()
    assert engine.stats().state == "stopped"


async def test_a_bad_checkpoint_is_told_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(b"not a checkpoint at all")
    engine = ProcessEngine(base_model_files=[path], artifacts_root=tmp_path / "artifacts", device="cpu")
    with pytest.raises(CheckpointError, match=r"bad\.safetensors"):
        await engine.start()


async def test_a_worker_that_dies_at_each_start_is_a_setup_error(
    toy: ToyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PYTHONHOME", str(tmp_path))  # an interpreter that cannot start
    patience = Patience(start_attempts=3, first_back_off_s=0.01)
    engine = ProcessEngine(base_model_files=[toy.path], artifacts_root=tmp_path, device="cpu", patience=patience)
    with pytest.raises(SetupError, match="status 1"):
        await engine.start()
    assert caplog.text.count("started again: the worker ended with status 1 while it started") == 2


async def test_a_message_that_the_worker_cannot_take_is_in_its_log(
    toy: ToyModel, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    worker = await WorkerProcess.start(WorkerOptions((str(toy.path),), str(tmp_path), "cpu"))
    worker._send(Frame("predict", {"number": 1}))
    await asyncio.wait_for(worker.ended.wait(), 30)
    assert "because of a message it cannot take" in capfd.readouterr().err


@pytest.fixture
def service(toy: ToyModel, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", SCRIPT, str(toy.path), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        yield process
        process.kill()


def test_the_api_process_needs_no_torch_and_leaves_no_orphan(service: subprocess.Popen[str]) -> None:
    assert service.stdout is not None
    told = json.loads(service.stdout.readline())
    assert told["torch"] is False
    assert is_alive(told["worker"])
    service.kill()
    assert has_ended(told["worker"], within_s=5)


def test_a_worker_that_is_killed_while_it_starts_is_started_again(service: subprocess.Popen[str]) -> None:
    assert service.stdout is not None
    killed = signalled(first_child(service.pid))
    told = json.loads(service.stdout.readline())
    assert told["worker"] != killed
    assert is_alive(told["worker"])


def test_a_worker_that_still_loads_ends_with_its_parent(service: subprocess.Popen[str]) -> None:
    worker = first_child(service.pid)
    service.kill()
    assert has_ended(worker, within_s=5)


def test_it_runs_on_the_event_loop_of_the_server(toy: ToyModel, tmp_path: Path) -> None:
    async def predicted() -> int:
        async with running(toy, tmp_path) as engine:
            artifact = await adapted(engine, toy)
            return int((await engine.predict(toy_query(toy.digest, artifact, [2]), deadline_s=30)).argmax())

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(predicted()) == 2


@pytest.fixture
def memory_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder whose syncs cost nothing, where there is one: thousands of files are written there."""
    shared_memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared_memory if shared_memory.is_dir() else tmp_path) as folder:
        yield Path(folder)


async def test_adaptations_do_not_make_the_worker_grow(toy: ToyModel, memory_folder: Path) -> None:
    learners = itertools.cycle(["ridge", "protonet", "anil", "maml"])
    async with running(toy, memory_folder) as engine:
        await asyncio.gather(*(adapted(engine, toy, learner=next(learners), seed=seed) for seed in range(500)))
        before = resident_bytes(engine.worker_pid)
        await asyncio.gather(*(adapted(engine, toy, learner=next(learners), seed=seed) for seed in range(500, 1000)))
        after = resident_bytes(engine.worker_pid)
        assert engine.stats().adaptations == 1000
        assert after < 1.02 * before


def test_restarts_back_off() -> None:
    pauses = Patience(first_back_off_s=0.5, last_back_off_s=3).back_offs()
    assert list(itertools.islice(pauses, 6)) == [0, 0.5, 1, 2, 3, 3]
