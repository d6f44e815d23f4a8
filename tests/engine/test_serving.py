"""What passes what in the worker's loop: real worker and scheduler, without a socket."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from service.artifacts import FileArtifacts
from service.engine.batching import Entry, Scheduler
from service.engine.inference import Question
from service.engine.messages import Answer, Counters, WorkerOptions
from service.engine.pacing import PASS_S, paced
from service.engine.serving import Serving
from service.engine.worker import Worker
from tests.engine.conftest import ToyModel
from tests.engine.toy_tasks import toy_images, toy_query, toy_support

IMAGE_S = PASS_S / 6
"""What an image costs: four of them are a pass."""


HEAD = {"head.weight": torch.zeros(2, 16), "head.bias": torch.zeros(2)}


class Clock:
    """The time that the slow backbone says it is."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A worker whose backbone takes `IMAGE_S` an image, by a clock of its own."""

    def __init__(self, toy: ToyModel, folder: Path) -> None:
        self._toy, self._clock = toy, Clock()
        self.passes: list[int] = []
        self.in_first_pass: Callable[[], None] = lambda: None
        self.answered: list[int] = []
        self.worker = Worker(WorkerOptions((str(toy.path),), str(folder), "cpu"), store=FileArtifacts(folder))
        self.task = self.worker.adapt(toy_support(toy.digest)).artifact
        adaptation = self.worker._models[toy.digest]
        adaptation.base_model.network.backbone.register_forward_pre_hook(self._take_time)
        inference = paced(adaptation.inference, Question(HEAD, toy_images([0, 0])), clock=self._clock)
        self.worker._models[toy.digest] = replace(adaptation, inference=inference)
        self.passes.clear()
        self.scheduler = Scheduler(batch_rows=self.worker.rows_a_pass)

    def ask(self, number: int, n_images: int) -> None:
        """Send a prediction."""
        self.scheduler.submit(Entry(number, toy_query(self._toy.digest, self.task, [1] * n_images)))

    def run(self, *, until: int) -> None:
        """Serve until so many requests are answered."""

        def reply(answers: Sequence[Answer], _: Counters) -> None:
            self.answered += [answer.number for answer in answers]
            if len(self.answered) >= until:
                self.scheduler.close()

        Serving(
            self.worker, self.scheduler, reply=reply, progress=lambda: None, tell=lambda _number, _share: None
        ).run()

    def _take_time(self, _: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
        self._clock.now += IMAGE_S * len(inputs[0])
        self.passes.append(len(inputs[0]))
        if len(self.passes) == 1:
            self.in_first_pass()


@pytest.fixture
def bench(toy: ToyModel, tmp_path: Path) -> Bench:
    return Bench(toy, tmp_path)


def test_a_prediction_passes_between_the_images_of_an_adaptation(bench: Bench, toy: ToyModel) -> None:
    bench.in_first_pass = lambda: bench.ask(2, n_images=1)
    bench.scheduler.submit(Entry(1, toy_support(toy.digest, n_shot=4)))
    bench.run(until=2)
    assert bench.passes == [4, 1, 4, 4]
    assert bench.answered == [2, 1]


def test_a_prediction_passes_between_the_images_of_a_large_one(bench: Bench) -> None:
    bench.in_first_pass = lambda: bench.ask(2, n_images=1)
    bench.ask(1, n_images=9)
    bench.run(until=2)
    assert bench.passes == [4, 1, 4, 1]
    assert bench.answered == [2, 1]


def test_a_large_prediction_does_not_pass_a_large_one(bench: Bench) -> None:
    bench.in_first_pass = lambda: bench.ask(2, n_images=6)
    bench.ask(1, n_images=6)
    bench.run(until=2)
    assert bench.answered == [1, 2]


def test_predictions_of_slow_images_go_in_small_batches(bench: Bench) -> None:
    for number in range(6):
        bench.ask(number, n_images=1)
    bench.run(until=6)
    assert bench.passes == [4, 2]
