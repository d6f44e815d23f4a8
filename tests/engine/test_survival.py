"""What the process engine does when its worker dies or hangs; one engine survives all of these tests."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio

from service.engine.patience import Patience
from service.engine.process import ProcessEngine
from service.errors import Unavailable, WorkerDied
from tests.engine.conftest import ToyModel
from tests.engine.toy_tasks import toy_query
from tests.engine.workers import adapted, is_alive, running, signalled

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(toy: ToyModel, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ProcessEngine]:
    async with running(toy, tmp_path_factory.mktemp("artifacts"), Patience(hang_s=2)) as engine:
        yield engine


async def test_a_killed_worker_costs_no_wrong_answer(engine: ProcessEngine, toy: ToyModel) -> None:
    artifacts = [await adapted(engine, toy, seed=seed) for seed in range(4)]
    wanted = [index % 3 for index in range(500)]
    requests = [toy_query(toy.digest, artifacts[n % 4], [wanted[n]], seed=n) for n in range(500)]
    restarts = engine.stats().worker_restarts
    asked = [asyncio.create_task(engine.predict(request, deadline_s=30)) for request in requests]
    await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
    signalled(engine.worker_pid)
    since = time.monotonic()
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    whole = await engine.predict(requests[0], deadline_s=10)
    whole_after_s = time.monotonic() - since
    answers = {n: int(outcome.argmax()) for n, outcome in enumerate(outcomes) if isinstance(outcome, np.ndarray)}
    failures = [outcome for outcome in outcomes if not isinstance(outcome, np.ndarray)]
    assert answers == {n: wanted[n] for n in answers}
    assert all(isinstance(failure, Unavailable) for failure in failures)
    assert whole.argmax() == 0
    assert whole_after_s < 10
    assert engine.stats().worker_restarts == restarts + 1
    assert engine.stats().state == "ready"


async def test_an_adaptation_under_way_fails_when_the_worker_dies(engine: ProcessEngine, toy: ToyModel) -> None:
    artifact = await adapted(engine, toy)
    before = engine.stats()
    long = asyncio.create_task(adapted(engine, toy, learner="maml", n_shot=150, options={"steps": 100}))
    await asyncio.sleep(0.2)
    signalled(engine.worker_pid)
    with pytest.raises(WorkerDied):
        await asyncio.wait_for(long, 5)
    await engine.predict(toy_query(toy.digest, artifact, [0]), deadline_s=30)
    after = engine.stats()
    assert after.adaptations == before.adaptations
    assert after.batches == before.batches + 1
    assert after.cache_misses == before.cache_misses + 1


async def test_adaptations_that_wait_outlive_the_worker(engine: ProcessEngine, toy: ToyModel) -> None:
    many = {"learner": "maml", "n_shot": 150, "options": {"steps": 100}}
    sent = [asyncio.create_task(adapted(engine, toy, **many)) for _ in range(2)]
    waiting = [asyncio.create_task(adapted(engine, toy, seed=seed)) for seed in range(5)]
    await asyncio.sleep(0.2)
    signalled(engine.worker_pid)
    outcomes = await asyncio.gather(*sent, *waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [WorkerDied] * 2 + [str] * 5


async def test_a_worker_that_hangs_is_killed_and_its_prediction_answered(engine: ProcessEngine, toy: ToyModel) -> None:
    artifact = await adapted(engine, toy)
    stopped = signalled(engine.worker_pid, signal.SIGSTOP)
    answer = await engine.predict(toy_query(toy.digest, artifact, [1]), deadline_s=30)
    assert answer.argmax() == 1
    assert not is_alive(stopped)


async def test_slow_is_not_stuck(engine: ProcessEngine, toy: ToyModel) -> None:
    pid = engine.worker_pid
    since = time.monotonic()
    await adapted(engine, toy, learner="maml", n_shot=150, options={"steps": 100, "lr": 0.001})
    assert time.monotonic() - since > 0.5
    assert engine.worker_pid == pid


async def test_signals_for_the_group_do_not_end_the_worker(engine: ProcessEngine, toy: ToyModel) -> None:
    pid = signalled(engine.worker_pid, signal.SIGTERM)
    signalled(pid, signal.SIGINT)
    assert len(await adapted(engine, toy)) == 64
    assert engine.worker_pid == pid


async def test_a_prediction_larger_than_the_queue_and_the_batch_is_answered(
    engine: ProcessEngine, toy: ToyModel
) -> None:
    artifact = await adapted(engine, toy)
    classes = [n % 3 for n in range(2500)]
    answer = await engine.predict(toy_query(toy.digest, artifact, classes), deadline_s=30)
    assert answer.argmax(1).tolist() == classes
