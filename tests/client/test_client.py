"""The client against a running service."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from service.client import Client, Task
from service.errors import (
    InvalidRequest,
    InvalidSupportSet,
    OriginalNotKept,
    TaskNotFound,
    UnknownBaseModel,
    UploadRejected,
    VersionNotFound,
)
from tests.image_factories import encoded, saved_zip

DARK, LIGHT = (encoded(Image.new("L", (16, 16), grey), "PNG") for grey in (0, 255))
GREYISH = [encoded(Image.new("L", (16, 16), grey), "PNG") for grey in (40, 220)]


@pytest.fixture
def client(service_url: str) -> Iterator[Client]:
    with Client(service_url) as opened:
        yield opened


@pytest.fixture
def task(client: Client) -> Task:
    """A ready task of two classes."""
    return client.create_task("greys", {"dark": [DARK], "light": [LIGHT]}, base_model="toy", wait_s=60)


def test_a_task_is_ready_in_one_call(task: Task) -> None:
    assert (task.state, task.base_model, task.current_version) == ("ready", "toy", 1)
    assert [(item.label, item.n_examples) for item in task.classes] == [("dark", 1), ("light", 1)]


def test_a_zip_is_sent_as_it_is_and_its_manifest_counts(client: Client, tmp_path: Path) -> None:
    saved = saved_zip(tmp_path)
    task = client.create_task("saved", saved, base_model="toy", wait_s=60)
    assert task.state == "ready"
    classes = [(item.label, item.n_examples, item.is_left_out) for item in task.classes]
    assert classes == [("dark/grey", 1, False), ("light", 1, False), ("odd", 1, True)]
    assert [item.group for item in client.examples(task)] == ["burst", None, None]
    assert len(client.add_examples(task, str(saved))) == 3
    assert client.evaluate(task, saved, unknown_labels="count").n_images == 2  # and one of another class


def test_one_image_gets_one_answer(client: Client, task: Task) -> None:
    answer = client.predict(task, GREYISH[0])
    assert (answer.label, answer.version) == ("dark", 1)
    assert sum(score.probability for score in answer.scores) == pytest.approx(1, abs=1e-5)


def test_more_images_than_a_request_takes_get_an_answer_each(client: Client, task: Task) -> None:
    labels = [answer.label for answer in client.predict(task, GREYISH * 35)]
    assert labels == ["dark", "light"] * 35


def test_a_task_that_is_filled_later_is_adapted_on_request(client: Client) -> None:
    task = client.create_empty_task("later", base_model="toy", metadata={"line": "3"})
    assert task.state == "empty"
    stored = client.add_examples(task, [("light", LIGHT), ("dark", DARK)])
    assert [example.label for example in stored] == ["light", "dark"]
    version = client.adapt(task, learner="anil", steps=2, prior={"light": 3, "dark": 1}, wait_s=60)
    assert (version.state, version.learner, version.settings["steps"]) == ("ready", "anil", 2)
    assert version.settings["prior"] == {"light": 3, "dark": 1}
    assert client.wait_until_ready(task).current_version == 1
    assert [item.number for item in client.versions(task)] == [1]


def test_examples_are_listed_read_back_and_removed(client: Client, task: Task) -> None:
    first, second = client.examples(task)
    assert client.example_bytes(task, first) == DARK
    client.delete_example(task, first)
    assert [example.id for example in client.examples(task)] == [second.id]


def test_a_task_is_changed_where_it_is_said(client: Client, task: Task) -> None:
    changed = client.update_task(task, name="shades", metadata={"line": "3"}, threshold=0.9, keep_s=3600)
    assert (changed.name, changed.metadata, changed.threshold) == ("shades", {"line": "3"}, 0.9)
    assert changed.expires_at is not None
    again = client.update_task(task, threshold=None, metadata={"line": None})
    assert (again.name, again.metadata, again.threshold) == ("shades", {}, None)


def test_an_earlier_version_answers_once_it_is_activated(client: Client, task: Task) -> None:
    client.adapt(task, wait_s=60)
    assert client.activate(task, 1).current_version == 1
    assert client.predict(task, DARK).version == 1


def test_a_class_is_removed_by_its_label(client: Client, task: Task) -> None:
    client.add_examples(task, {"a / b?": [GREYISH[0]]})
    client.remove_class(task, "a / b?")
    assert [item.label for item in client.task(task).classes] == ["dark", "light"]


def test_a_class_is_renamed_left_out_and_taken_in_again(client: Client, task: Task) -> None:
    renamed = client.rename_class(task, "dark", "pitch / black")
    left_out = client.leave_out_class(task, "pitch / black")
    taken_in = client.take_in_class(task, "pitch / black")
    assert [item.label for item in renamed.classes] == ["pitch / black", "light"]
    assert [item.is_left_out for item in left_out.classes] == [True, False]
    assert [item.is_left_out for item in taken_in.classes] == [False, False]


def test_an_example_is_moved_to_another_class(client: Client, task: Task) -> None:
    example = next(client.examples(task))
    moved = client.move_example(task, example, "grey")
    assert (moved.id, moved.label) == (example.id, "grey")
    assert [item.label for item in client.task(task).classes][-1] == "grey"


def test_an_example_is_put_into_a_group_and_taken_out_of_it(client: Client, task: Task) -> None:
    example = next(client.examples(task))
    assert client.group_example(task, example, "slide 1").group == "slide 1"
    assert client.group_example(task, example.id, None).group is None


def test_feedback_becomes_an_example(client: Client, task: Task) -> None:
    stored = client.give_feedback(task, {"dark": [GREYISH[0]]}, adapt=True, wait_s=60)
    assert [(example.label, example.source) for example in stored] == [("dark", "feedback")]
    assert client.task(task).current_version == 2


def test_the_images_to_label_next_are_named(client: Client, task: Task) -> None:
    (suggestion,) = client.suggest(task, [*GREYISH, *GREYISH], n=1)
    assert suggestion.index in range(4)
    assert (suggestion.reason, bool(suggestion.detail)) == ("typical", True)


def test_a_task_keeps_what_it_is_told_to_keep(client: Client) -> None:
    task = client.create_task(None, {"dark": [DARK], "light": [LIGHT]}, base_model="toy", wait_s=60, store="features")
    assert task.store == "features"
    assert [example.has_original for example in client.examples(task)] == [False, False]
    with pytest.raises(OriginalNotKept):
        client.example_bytes(task, next(client.examples(task)))


def test_tasks_are_found_by_metadata(client: Client) -> None:
    made = client.create_empty_task("tagged", metadata={"batch": "test_tasks_are_found_by_metadata"})
    assert [task.id for task in client.tasks(metadata={"batch": "test_tasks_are_found_by_metadata"})] == [made.id]


def test_a_deleted_task_is_not_found(client: Client, task: Task) -> None:
    client.delete_task(task)
    with pytest.raises(TaskNotFound):
        client.task(task)


def test_a_version_that_is_none_is_not_found(client: Client, task: Task) -> None:
    with pytest.raises(VersionNotFound):
        client.version(task, 7)


def test_what_the_service_refuses_is_raised_as_its_class(client: Client, task: Task) -> None:
    with pytest.raises(InvalidSupportSet):
        client.create_task("one class", {"dark": [DARK, DARK]}, base_model="toy")
    with pytest.raises(UnknownBaseModel):
        client.create_task("no base", {"dark": [DARK], "light": [LIGHT]}, base_model="none")
    with pytest.raises(UploadRejected) as caught:
        client.add_examples(task, {"dark": [DARK, b"no image", LIGHT[:30]]})
    assert [item.pointer for item in caught.value.items] == ["/files/1", "/files/2"]


def test_base_models_and_limits_are_told(client: Client) -> None:
    (toy,) = [card for card in client.base_models() if card.id == "toy"]
    assert [offer.name for offer in toy.learners] == ["ridge", "protonet", "anil", "maml"]
    assert client.limits().prediction_images == 64
    assert client.ready()


def test_a_task_is_evaluated_on_labelled_images(client: Client, task: Task) -> None:
    found = client.evaluate(task, {"dark": [DARK, GREYISH[0]], "light": [GREYISH[1], DARK]})
    assert (found.basis, found.version, found.n_images, found.accuracy) == ("query-set", 1, 4, 0.75)
    assert found.confusion == ((2, 0), (1, 1))
    assert [(each.label, each.recall) for each in found.classes] == [("dark", 1.0), ("light", 0.5)]
    assert found.thresholds[0].coverage == 1


def test_images_of_other_classes_judge_the_unknown_score(client: Client, task: Task) -> None:
    queries = [("dark", DARK), ("light", LIGHT), ("owl", GREYISH[0])]
    with pytest.raises(UploadRejected, match="owl"):
        client.evaluate(task, queries)
    found = client.evaluate(task, queries, unknown_labels="count")
    assert found.unknown is not None
    assert found.unknown["labels"] == ["owl"]
    with pytest.raises(InvalidRequest):
        client.evaluate(task, [])


def test_the_nearest_examples_are_named_on_request(client: Client, task: Task) -> None:
    (found,) = client.predict(task, GREYISH[0], nearest=1).nearest
    assert (found.label, found.example_id) == ("dark", next(client.examples(task)).id)
    assert found.similarity <= 1
    assert client.predict(task, GREYISH[0]).nearest == ()


def test_a_task_is_exported_under_its_name(client: Client, task: Task) -> None:
    file = client.export(task, "safetensors")
    assert file.filename == "greys-1.safetensors"
    assert b"head.weight" in file.data
    with pytest.raises(VersionNotFound):
        client.export(task, version=7)
