"""Who runs next."""

import threading

import numpy as np

from service.engine.base import AdaptRequest, PredictRequest
from service.engine.batching import Entry, Scheduler


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def prediction(number: int, *, rows: int = 1, base_model: str = "a", expires_at: float = 100.0) -> Entry:
    return Entry(number, PredictRequest(base_model, "task", np.zeros((rows, 1, 8, 8), np.uint8)), expires_at)


def adaptation(number: int) -> Entry:
    return Entry(number, AdaptRequest("a", "ridge", {}, (), (), np.zeros((0, 1, 8, 8), np.uint8)))


def scheduler_with(*entries: Entry, batch_rows: int = 8) -> Scheduler:
    scheduler = Scheduler(batch_rows=lambda _: batch_rows, clock=Clock())
    for entry in entries:
        scheduler.submit(entry)
    return scheduler


def numbers(entries: list[Entry]) -> list[int]:
    return [entry.number for entry in entries]


def test_a_batch_takes_what_is_waiting_in_order() -> None:
    scheduler = scheduler_with(prediction(1), prediction(2), prediction(3))
    assert numbers(scheduler.take_batch().entries) == [1, 2, 3]
    assert scheduler.take_batch().entries == []


def test_a_batch_is_capped_in_images_not_requests() -> None:
    scheduler = scheduler_with(prediction(1, rows=5), prediction(2, rows=4), prediction(3, rows=3))
    assert numbers(scheduler.take_batch().entries) == [1, 3]
    assert numbers(scheduler.take_batch().entries) == [2]


def test_a_request_larger_than_a_batch_runs_alone() -> None:
    scheduler = scheduler_with(prediction(1, rows=20), prediction(2))
    assert numbers(scheduler.take_batch().entries) == [1]
    assert numbers(scheduler.take_batch().entries) == [2]


def test_a_look_for_small_requests_leaves_the_large_one_where_it_is() -> None:
    scheduler = scheduler_with(prediction(1, rows=20), prediction(2), prediction(3))
    assert numbers(scheduler.take_batch(small_only=True).entries) == [2, 3]
    assert scheduler.take_batch(small_only=True).entries == []
    assert numbers(scheduler.take_batch().entries) == [1]


def test_a_batch_has_one_base_model_and_the_oldest_request_chooses_it() -> None:
    scheduler = scheduler_with(prediction(1, base_model="b"), prediction(2), prediction(3, base_model="b"))
    assert numbers(scheduler.take_batch().entries) == [1, 3]
    assert numbers(scheduler.take_batch().entries) == [2]


def test_a_request_past_its_deadline_is_set_aside() -> None:
    scheduler = scheduler_with(prediction(1, expires_at=0), prediction(2))
    batch = scheduler.take_batch()
    assert (numbers(batch.expired), numbers(batch.entries)) == ([1], [2])


def test_a_request_whose_caller_left_is_dropped() -> None:
    scheduler = scheduler_with(prediction(1), prediction(2), adaptation(3))
    scheduler.cancel(1)
    scheduler.cancel(3)
    assert numbers(scheduler.take_batch().entries) == [2]
    assert scheduler.take_adaptation() is None


def test_an_answer_is_owed_only_to_callers_who_still_wait() -> None:
    scheduler = scheduler_with(prediction(1), prediction(2))
    entries = scheduler.take_batch().entries
    scheduler.cancel(1)
    assert numbers(scheduler.finish(entries)) == [2]


def test_an_adaptation_that_runs_learns_that_its_caller_left() -> None:
    scheduler = scheduler_with(adaptation(1))
    entry = scheduler.take_adaptation()
    scheduler.cancel(1)
    assert entry is not None
    assert entry.is_cancelled


def test_adaptations_run_in_the_order_they_came() -> None:
    scheduler = scheduler_with(adaptation(1), adaptation(2))
    assert [entry.number for entry in (scheduler.take_adaptation(), scheduler.take_adaptation()) if entry] == [1, 2]


def test_waiting_ends_when_a_request_comes() -> None:
    scheduler = scheduler_with()
    threading.Timer(0.05, scheduler.submit, [prediction(1)]).start()
    assert scheduler.wait()
    assert scheduler.waiting_predictions() == 1


def test_waiting_ends_when_it_is_closed() -> None:
    scheduler = scheduler_with()
    threading.Timer(0.05, scheduler.close).start()
    assert not scheduler.wait()
