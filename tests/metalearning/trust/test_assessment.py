"""What is told of a support set: held-out answers, copies, suspects, the figures of an unbalanced task."""

import pytest
import torch
from torch import Tensor

from service.metalearning.calibration import Calibration, Expectation, shape_values
from service.metalearning.learners.closed_form import ProtoNet
from service.metalearning.trust.assessment import assess, assess_counts, average_precision, recall_at
from service.metalearning.trust.holding_out import held_out, near_copies
from tests.metalearning.small_tasks import make_network

CALIBRATION = Calibration(
    factor=(0.0, 0.0, 0.0),
    unknown=((0.0,) * 3, (0.0,) * 3),  # the weight is 1
    unknown_threshold=(0.0, 0.0, 0.0),
    threshold=(0.0, 0.0, 0.0),
    held_out=Expectation((0.0, 0.0, 0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0), -0.1, 0.1),
    base_model=Expectation((1.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0), -0.2, 0.1),
)


def rows_of(*values: float) -> Tensor:
    """Examples of one feature."""
    return torch.tensor(values)[:, None]


def test_a_held_out_example_does_not_answer_for_itself() -> None:
    # Class 0 at 0 and 4, class 1 at 6 and 7. Held out with 6, the example at 0 is nearer to 4 than to 7; held out
    # with 7, the one at 4 is nearer to 6 than to 0.
    found = held_out(ProtoNet(make_network()), rows_of(0.0, 4.0, 6.0, 7.0), torch.tensor([0, 0, 1, 1]))
    assert found.answered.tolist() == [True] * 4
    assert found.logits.argmax(1).tolist() == [0, 1, 1, 1]


def test_examples_of_a_group_are_held_out_together() -> None:
    # Without its group the example at 4 would be answered by its like at 4.5; with it, by 0.
    rows, labels = rows_of(0.0, 4.0, 4.5, 5.0, 6.0, 7.0), torch.tensor([0, 0, 0, 1, 1, 1])
    alone = held_out(ProtoNet(make_network()), rows, labels)
    together = held_out(ProtoNet(make_network()), rows, labels, groups=(None, 1, 1, None, None, None))
    assert together.logits[1].softmax(0)[0] < alone.logits[1].softmax(0)[0]
    assert together.logits.argmax(1)[1:3].tolist() == [1, 1]


def test_a_copy_does_not_answer_for_its_original() -> None:
    rows, labels = rows_of(0.0, 4.4, 4.4, 5.0, 6.0, 7.0), torch.tensor([0, 0, 0, 1, 1, 1])
    assert near_copies(rows).nonzero().tolist() == [[1, 2], [2, 1]]
    assert held_out(ProtoNet(make_network()), rows, labels).logits.argmax(1)[1:3].tolist() == [1, 1]


def test_a_class_of_one_image_is_not_held_out_and_is_told() -> None:
    found = assess(ProtoNet(make_network()), rows_of(0.0, 5.0, 6.0), torch.tensor([0, 1, 1]), calibration=CALIBRATION)
    assert found.recalls == (None, 1.0)
    assert found.findings[0].code == "single-image"
    assert found.findings[0].classes == (0,)


def test_a_task_of_single_images_is_expected_to_do_as_the_base_model() -> None:
    found = assess(ProtoNet(make_network()), rows_of(0.0, 5.0), torch.tensor([0, 1]), calibration=CALIBRATION)
    assert found.expected is not None
    assert found.expected.basis == "base-model"
    assert found.expected.accuracy == pytest.approx(1 / (1 + torch.e**-1))  # the logit is 1
    assert found.expected.interval_95 == pytest.approx((found.expected.accuracy - 0.2, found.expected.accuracy + 0.1))
    assert assess_counts([1, 1], CALIBRATION).expected == found.expected


def test_held_out_answers_tell_the_accuracy_to_expect() -> None:
    # Four of four are right, pulled to (4 + 1/2) of 5; the law passes it on.
    found = assess(
        ProtoNet(make_network()), rows_of(0.0, 1.0, 8.0, 9.0), torch.tensor([0, 0, 1, 1]), calibration=CALIBRATION
    )
    assert found.expected is not None
    assert found.expected.basis == "leave-one-out"
    assert found.expected.accuracy == pytest.approx(0.9)
    assert found.confusion == ((2, 0), (0, 2))


def test_an_example_under_the_wrong_label_is_named() -> None:
    rows, labels = rows_of(0.0, 1.0, 9.0, 8.0, 9.5, 10.0), torch.tensor([0, 0, 0, 1, 1, 1])
    found = assess(ProtoNet(make_network()), rows, labels, calibration=CALIBRATION)
    assert [(each.example, each.nearest) for each in found.suspects][:1] == [(2, 1)]
    assert "nearest-to-another-class" in {each.code for each in found.findings}


def test_an_image_in_two_classes_is_told() -> None:
    rows, labels = rows_of(0.0, 3.0, 3.0, 8.0), torch.tensor([0, 0, 1, 1])
    found = assess(ProtoNet(make_network()), rows, labels, calibration=None)
    (copies,) = [each for each in found.findings if each.code == "duplicates-across-classes"]
    assert copies.classes == (0, 1)
    assert copies.examples == (1, 2)


def test_classes_that_lie_in_each_other_are_told() -> None:
    rows, labels = rows_of(0.0, 3.0, 1.0, 4.0, -5.0, -6.0), torch.tensor([0, 0, 1, 1, 2, 2])
    found = assess(ProtoNet(make_network()), rows, labels, calibration=None)
    assert [each.classes for each in found.findings if each.code == "confusable-classes"] == [(0, 1)]


def test_without_constants_nothing_is_said_about_accuracy() -> None:
    found = assess(ProtoNet(make_network()), rows_of(0.0, 1.0, 8.0, 9.0), torch.tensor([0, 0, 1, 1]), calibration=None)
    assert found.expected is None
    assert found.thresholds == {}


def test_precision_is_averaged_over_the_positives() -> None:
    scores, is_positive = torch.tensor([4.0, 3.0, 2.0, 1.0]), torch.tensor([True, False, True, False])
    assert average_precision(scores, is_positive) == pytest.approx((1 / 1 + 2 / 3) / 2)


def test_recall_counts_the_positives_above_the_allowed_false_alarms() -> None:
    scores = torch.tensor([9.0, 5.0, 1.0, 8.0, 4.0, 3.0, 2.0])
    is_positive = torch.tensor([True, True, True, False, False, False, False])
    assert recall_at(scores, is_positive, 0.0) == pytest.approx(1 / 3)
    assert recall_at(scores, is_positive, 0.25) == pytest.approx(2 / 3)


def test_an_unbalanced_task_leads_with_its_small_class() -> None:
    rows = rows_of(*[0.1 * index for index in range(10)], 9.0, 9.5)
    found = assess(ProtoNet(make_network()), rows, torch.tensor([0] * 10 + [1, 1]), calibration=None)
    assert found.detection is not None
    assert found.detection.label == 1
    assert found.detection.average_precision == pytest.approx(1.0)


def test_unequal_classes_count_by_the_harmonic_mean() -> None:
    assert shape_values([2, 6]) == pytest.approx((1.0, torch.tensor(2.0).log().item(), torch.tensor(3.0).log().item()))
