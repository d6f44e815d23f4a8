"""The owner of the device, without queue or socket."""

from pathlib import Path

import numpy as np
import pytest
import torch

from service.artifacts import FileArtifacts
from service.engine.messages import WorkerOptions
from service.engine.worker import Worker
from service.errors import ConfigurationError, ServiceError, Unavailable
from service.metalearning.serialization import BaseModel
from tests.engine.conftest import ToyModel
from tests.engine.toy_tasks import OFFERS, toy_query, toy_support


def make_worker(toy: ToyModel, tmp_path: Path, *, cache_bytes: int = 2**20) -> Worker:
    options = WorkerOptions((str(toy.path),), str(tmp_path), "cpu", cache_bytes)
    return Worker(options, store=FileArtifacts(tmp_path))


def network_state(worker: Worker, toy: ToyModel) -> dict[str, torch.Tensor]:
    model: BaseModel = worker._models[toy.digest].base_model
    return {name: tensor.clone() for name, tensor in model.network.state_dict().items()}


def test_the_base_model_is_bit_equal_after_every_learner_adapted(toy: ToyModel, tmp_path: Path) -> None:
    worker = make_worker(toy, tmp_path)
    before = network_state(worker, toy)
    results = [worker.adapt(toy_support(toy.digest, learner=learner)) for learner in OFFERS]
    worker.predict_batch([toy_query(toy.digest, result.artifact, [0, 1]) for result in results])
    after = network_state(worker, toy)
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_warming_up_stores_nothing(toy: ToyModel, tmp_path: Path) -> None:
    worker = make_worker(toy, tmp_path)
    worker.warm_up()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert worker.counters().adaptations == 0


def test_an_adaptation_pauses_between_chunks_of_at_most_64_images(toy: ToyModel, tmp_path: Path) -> None:
    pauses: list[int] = []
    worker = make_worker(toy, tmp_path)
    worker.adapt(toy_support(toy.digest, n_shot=64), pause=lambda: pauses.append(1))
    assert len(pauses) >= 3


def test_a_batch_too_large_for_the_memory_is_split(
    toy: ToyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = make_worker(toy, tmp_path)
    artifact = worker.adapt(toy_support(toy.digest)).artifact
    requests = [toy_query(toy.digest, artifact, [n % 3] * 4) for n in range(8)]
    _limit_rows(worker, toy, most=6)
    outcomes = worker.predict_batch(requests)
    assert [int(outcome[0].argmax()) for outcome in outcomes if isinstance(outcome, np.ndarray)] == [
        n % 3 for n in range(8)
    ]


def test_a_request_that_does_not_fit_in_one_pass_takes_several(toy: ToyModel, tmp_path: Path) -> None:
    worker = make_worker(toy, tmp_path)
    artifact = worker.adapt(toy_support(toy.digest)).artifact
    _limit_rows(worker, toy, most=2)
    (outcome,) = worker.predict_batch([toy_query(toy.digest, artifact, [1] * 30)])
    assert isinstance(outcome, np.ndarray)
    assert outcome.argmax(1).tolist() == [1] * 30


def test_a_request_that_never_fits_fails_and_says_so(toy: ToyModel, tmp_path: Path) -> None:
    worker = make_worker(toy, tmp_path)
    artifact = worker.adapt(toy_support(toy.digest)).artifact
    _limit_rows(worker, toy, most=0)
    (outcome,) = worker.predict_batch([toy_query(toy.digest, artifact, [1])])
    assert isinstance(outcome, Unavailable)


def test_a_support_set_that_never_fits_fails_for_good(toy: ToyModel, tmp_path: Path) -> None:
    worker = make_worker(toy, tmp_path)
    _limit_rows(worker, toy, most=0)
    with pytest.raises(ServiceError, match="too little memory") as failure:
        worker.adapt(toy_support(toy.digest))
    assert not isinstance(failure.value, Unavailable)


def test_a_task_model_that_cannot_be_loaded_fails_alone(toy: ToyModel, tmp_path: Path) -> None:
    adapting = make_worker(toy, tmp_path)
    good, bad = (adapting.adapt(toy_support(toy.digest, seed=seed)).artifact for seed in (1, 2))
    options = WorkerOptions((str(toy.path),), str(tmp_path), "cpu")
    worker = Worker(options, store=_NoRoomFor(bad, tmp_path))
    answer, failure = worker.predict_batch([toy_query(toy.digest, each, [1]) for each in (good, bad)])
    assert isinstance(answer, np.ndarray)
    assert isinstance(failure, Unavailable)


def test_an_unknown_device_is_refused(toy: ToyModel, tmp_path: Path) -> None:
    options = WorkerOptions((str(toy.path),), str(tmp_path), "tpu")  # type: ignore[arg-type]  # what a user may write
    with pytest.raises(ConfigurationError, match="tpu"):
        Worker(options, store=FileArtifacts(tmp_path))


def _limit_rows(worker: Worker, toy: ToyModel, *, most: int) -> None:
    """Make the device run out of memory beyond this many rows."""

    def run_out(_: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
        if len(inputs[0]) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")

    worker._models[toy.digest].base_model.network.backbone.register_forward_pre_hook(run_out)


class _NoRoomFor(FileArtifacts):
    """Artifacts of which one is too large for the memory that is left."""

    def __init__(self, digest: str, root: Path) -> None:
        super().__init__(root)
        self._large = digest

    def get(self, digest: str) -> bytes:
        if digest == self._large:
            raise MemoryError
        return super().get(digest)
