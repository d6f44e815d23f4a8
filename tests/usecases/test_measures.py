"""The figures of an evaluation, by hand."""

import numpy as np
import pytest

# scikit-learn has no types
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score  # type: ignore[import-untyped]

from service.usecases.measures import (
    auroc,
    balanced_accuracy,
    calibration,
    class_figures,
    confusion_counts,
    threshold_table,
    wilson_interval,
)


def test_a_wilson_interval_is_that_of_newcombe_1998() -> None:
    """Newcombe 1998 (Statistics in Medicine 17, 857-872), table I, method 3."""
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_an_interval_stays_inside_0_to_1() -> None:
    assert wilson_interval(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)
    assert wilson_interval(5, 5) == pytest.approx((0.5655, 1), abs=5e-5)
    assert max(wilson_interval(5, 5)) <= 1


def test_a_confusion_has_true_classes_as_rows() -> None:
    counts = confusion_counts([0, 0, 1, 2], [0, 2, 1, 1], 3)
    assert counts.tolist() == [[1, 0, 1], [0, 1, 0], [0, 1, 0]]


def test_class_figures_come_from_the_confusion() -> None:
    first, second, third, never = class_figures(np.array([[3, 1, 0, 0], [2, 2, 0, 0], [0, 2, 0, 0], [0, 0, 0, 0]]))
    assert (first.support, first.precision, first.recall) == (4, 3 / 5, 3 / 4)
    assert first.f1 == pytest.approx(2 * (3 / 5) * (3 / 4) / (3 / 5 + 3 / 4))
    assert (second.precision, second.recall) == (2 / 5, 2 / 4)
    assert (third.precision, third.recall, third.f1) == (None, 0.0, 0.0)
    assert (never.support, never.precision, never.recall, never.f1) == (0, None, None, None)


def test_class_figures_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth, answers = rng.integers(0, 4, 200), rng.integers(0, 4, 200)
    figures = class_figures(confusion_counts(truth.tolist(), answers.tolist(), 4))
    expected = precision_recall_fscore_support(truth, answers)
    found = np.array([[f.precision, f.recall, f.f1, f.support] for f in figures], float)
    np.testing.assert_allclose(found, np.array(expected).T)


def test_balanced_accuracy_counts_each_present_class_alike() -> None:
    assert balanced_accuracy(np.array([[90, 10, 0], [1, 1, 0], [0, 0, 0]])) == pytest.approx((0.9 + 0.5) / 2)


def test_the_calibration_error_is_the_mean_gap_of_the_bins() -> None:
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.5, 0.5])
    is_right = np.array([True, True, True, False, True, False])
    found = calibration(confidence, is_right)
    # the bin of 0.95 has an accuracy of 0.75, that of 0.5 one of 0.5
    assert found.error == pytest.approx(4 / 6 * (0.95 - 0.75))
    assert [b.n_images for b in found.bins if b.n_images] == [2, 4]
    assert len(found.bins) == 15


def test_bins_have_their_upper_edge_and_the_first_has_0_too() -> None:
    found = calibration(np.array([0.0, 1 / 15, 1.0]), np.array([False, False, True]))
    assert (found.bins[0].n_images, found.bins[14].n_images) == (2, 1)
    assert found.bins[1].probability is found.bins[1].accuracy is None


def test_a_threshold_withholds_what_is_below_it() -> None:
    low, high, highest = threshold_table(np.array([0.4, 0.6, 0.9]), np.array([False, True, True]), (0.0, 0.6, 0.95))
    assert low.coverage == 1
    assert low.accuracy == pytest.approx(2 / 3)
    assert high.accuracy == 1
    assert high.coverage == pytest.approx(2 / 3)
    assert (highest.coverage, highest.accuracy) == (0, None)


def test_auroc_is_the_share_of_pairs_in_the_right_order() -> None:
    scores, is_positive = np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False])
    assert auroc(scores, is_positive) == (1 + 1 + 0.5 + 1) / 4
    assert auroc(scores, np.array([True] * 4)) is None


def test_auroc_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    scores, is_positive = rng.integers(0, 20, 300) / 20, rng.random(300) < 0.3
    assert auroc(scores, is_positive) == pytest.approx(roc_auc_score(is_positive, scores))
