"""Evaluations of a query set, and of what a version's report says."""

from collections.abc import Mapping
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import update

from service.errors import InvalidRequest, RequestTooLarge, TaskNotFound, TaskNotReady, UploadRejected, VersionNotFound
from service.persistence.orm import Version
from service.usecases.evaluation import Evaluations
from service.usecases.new_tasks import NewTask
from tests.usecases.conftest import LIMITS, House, labelled, png

REPORT = {
    "expected_accuracy": {"accuracy": 0.8, "interval_95": [0.5, 0.95], "basis": "leave-one-out"},
    "classes": [
        {"label": "dark", "n_examples": 3, "recall": 2 / 3},
        {"label": "bright", "n_examples": 2, "recall": 1.0},
    ],
    "confusion": [[2, 1], [0, 2]],
}


@pytest.fixture
def evaluations(house: House) -> Evaluations:
    return Evaluations(house.database, house.predictions, house.serving, LIMITS)


async def reporting(house: House, task_id: UUID, report: Mapping[str, object]) -> None:
    """Give the task's version this report."""
    async with house.database.write() as session:
        await session.execute(update(Version).where(Version.task_id == task_id).values(report=dict(report)))


async def test_a_query_set_is_answered_and_compared(house: House, evaluations: Evaluations) -> None:
    task = await house.ready_task()
    queries = labelled(("dark", png(50)), ("dark", png(180)), ("bright", png(210)), ("bright", png(220)))
    found = await evaluations.evaluate(task.id, queries, deadline_s=5)
    assert (found.version, found.basis, found.n_images, found.accuracy) == (1, "query-set", 4, 0.75)
    assert found.confusion == ((1, 1), (0, 2))
    assert found.balanced_accuracy == pytest.approx(0.75)
    assert found.interval_95 == pytest.approx((0.3006, 0.9544), abs=5e-5)
    assert [(c.label, c.support, c.recall) for c in found.classes] == [("dark", 2, 0.5), ("bright", 2, 1.0)]
    assert found.classes[1].precision == pytest.approx(2 / 3)
    assert found.thresholds[0].coverage == 1
    assert found.calibration is not None
    assert found.unknown is None


async def test_nothing_of_a_query_set_is_stored(house: House, evaluations: Evaluations) -> None:
    task = await house.ready_task()
    before = files(house.folder)
    await evaluations.evaluate(task.id, labelled(("dark", png(51)), ("bright", png(211))), deadline_s=5)
    assert files(house.folder) == before
    assert (await house.tasks.get(task.id)).n_examples == 4


async def test_a_query_set_is_answered_in_parts_of_a_prediction(house: House, evaluations: Evaluations) -> None:
    task = await house.ready_task()
    queries = labelled(*[("dark", png(40 + shade)) for shade in range(20)])
    found = await evaluations.evaluate(task.id, queries, deadline_s=5)
    assert [len(request.pixels) for request in house.engine.predictions] == [8, 8, 4]
    assert found.n_images == 20


async def test_a_query_set_beyond_the_limit_is_refused(house: House, evaluations: Evaluations) -> None:
    task = await house.ready_task()
    with pytest.raises(RequestTooLarge, match="at most 20"):
        await evaluations.evaluate(task.id, labelled(("dark", png(50))) * 21, deadline_s=5)


async def test_labels_that_the_version_does_not_have_are_named(house: House, evaluations: Evaluations) -> None:
    task = await house.ready_task()
    queries = labelled(("dark", png(50)), ("owl", png(128)), ("bright", png(210)))
    with pytest.raises(UploadRejected, match="'owl'") as caught:
        await evaluations.evaluate(task.id, queries, deadline_s=5)
    assert [(item.pointer, item.code) for item in caught.value.items] == [("/files/1", "unknown-label")]
    assert house.engine.predictions == []


async def test_unknown_images_are_counted_on_request(house: House, evaluations: Evaluations) -> None:
    task = await house.ready_task()
    queries = labelled(("dark", png(64)), ("owl", png(130)), ("bright", png(196)), ("owl", png(131)))
    found = await evaluations.evaluate(task.id, queries, deadline_s=5, unknown_labels="count")
    assert (found.n_images, found.accuracy) == (2, 1)
    assert found.unknown is not None
    assert (found.unknown.n_images, found.unknown.labels, found.unknown.auroc) == (2, ("owl",), 1.0)
    assert [each.unknown_answered for each in found.thresholds][:1] == [1.0]
    assert found.thresholds[-1].unknown_answered == 0


async def test_a_query_set_of_unknown_images_alone_is_refused(house: House, evaluations: Evaluations) -> None:
    task = await house.ready_task()
    with pytest.raises(InvalidRequest, match="no image has a label"):
        await evaluations.evaluate(task.id, labelled(("owl", png(1))), deadline_s=5, unknown_labels="count")


async def test_every_bad_image_of_every_part_is_named(house: House, evaluations: Evaluations) -> None:
    task = await house.ready_task()
    images = [png(50)] * 10
    images[1] = images[9] = b"no image"
    with pytest.raises(UploadRejected, match="2 of 10") as caught:
        await evaluations.evaluate(task.id, labelled(*[("dark", image) for image in images]), deadline_s=5)
    assert [item.pointer for item in caught.value.items] == ["/files/1", "/files/9"]
    assert caught.value.status == 415


async def test_an_older_version_is_evaluated_when_it_is_asked_for(house: House, evaluations: Evaluations) -> None:
    task = await house.ready_task()
    await house.tasks.add_examples(task.id, labelled(("middle", png(128))))
    await house.tasks.adapt(task.id, wait_s=5)
    found = await evaluations.evaluate(task.id, labelled(("dark", png(50))), deadline_s=5, version=1)
    assert (found.version, len(found.classes)) == (1, 2)
    with pytest.raises(VersionNotFound):
        await evaluations.report(task.id, version=7)


async def test_without_a_query_set_the_report_is_told(house: House, evaluations: Evaluations) -> None:
    task = await house.ready_task()
    await reporting(house, task.id, REPORT)
    found = await evaluations.report(task.id)
    assert (found.basis, found.accuracy, found.interval_95) == ("leave-one-out", 0.8, (0.5, 0.95))
    assert (found.n_images, found.confusion) == (5, ((2, 1), (0, 2)))
    assert found.balanced_accuracy == pytest.approx((2 / 3 + 1) / 2)
    assert [each.precision for each in found.classes] == [1.0, pytest.approx(2 / 3)]


async def test_a_report_without_a_confusion_is_told_as_far_as_it_goes(house: House, evaluations: Evaluations) -> None:
    task = await house.ready_task()
    expected = {"accuracy": 0.7, "interval_95": [0.6, 0.8], "basis": "base-model"}
    await reporting(house, task.id, {"expected_accuracy": expected})
    found = await evaluations.report(task.id)
    assert (found.basis, found.accuracy, found.classes, found.confusion) == ("base-model", 0.7, (), None)


async def test_a_version_without_a_report_says_so(house: House, evaluations: Evaluations) -> None:
    task = await house.ready_task()
    with pytest.raises(InvalidRequest, match="send a labelled query set"):
        await evaluations.report(task.id)


async def test_what_cannot_answer_cannot_be_evaluated(house: House, evaluations: Evaluations) -> None:
    empty = await house.tasks.create_empty(NewTask())
    with pytest.raises(TaskNotReady):
        await evaluations.report(empty.id)
    with pytest.raises(TaskNotFound):
        await evaluations.evaluate(uuid4(), labelled(("dark", png(50))), deadline_s=5)


def files(folder: Path) -> set[Path]:
    return {path for path in (folder / "artifacts").rglob("*") if path.is_file()}
