"""Choosing images to label: cases worked out by hand, on points of a plane."""

import numpy as np
import pytest

from service.usecases.suggesting import Directions, k_means, typical, typicality, uncertain


def points(*pairs: tuple[float, float]) -> Directions:
    return np.array(pairs, np.float32)


BIG = points(*((0.1 * x, 0.1 * y) for x in (-1, 0, 1) for y in (-1, 0, 1)))
"""Nine points around the origin, the fifth of them its middle."""

SMALL = points((9, 9), (9.1, 9), (9, 9.1), (9.1, 9.1), (9.05, 9.05))
"""Five points far from it, the last of them the middle."""


def test_clusters_that_lie_apart_are_found() -> None:
    cluster = k_means(np.concatenate([BIG, SMALL]), 2)
    assert len(set(cluster[:9])) == len(set(cluster[9:])) == 1
    assert cluster[0] != cluster[9]


def test_equal_points_are_clustered_too() -> None:
    assert len(k_means(np.ones((4, 2), np.float32), 3)) == 4


def test_typicality_is_one_over_the_mean_distance_to_the_others() -> None:
    np.testing.assert_allclose(typicality(points((0, 0), (0, 1), (0, 3))), [1 / 2, 1 / 1.5, 1 / 2.5], rtol=1e-4)


def test_a_point_alone_is_as_typical_as_can_be() -> None:
    assert typicality(points((1, 1))).tolist() == [np.inf]


def test_the_middle_of_the_largest_cluster_comes_first_then_that_of_the_next() -> None:
    first, second = typical(np.concatenate([SMALL, BIG]), BIG[:0], 2)
    assert (first.index, first.n_alike, first.n_labelled) == (9, 9, 0)
    assert (second.index, second.n_alike, second.n_labelled) == (4, 5, 0)


def test_what_is_like_a_labelled_image_comes_later() -> None:
    (choice,) = typical(np.concatenate([BIG, SMALL]), points((0.01, 0)), 1)
    assert (choice.index, choice.n_alike, choice.n_labelled) == (13, 5, 0)


def test_every_image_is_suggested_once_where_all_are_asked_for() -> None:
    pool = np.concatenate([BIG, SMALL])
    assert sorted(choice.index for choice in typical(pool, BIG[:0], 100)) == list(range(14))


def test_one_image_is_suggested_of_a_pool_of_one() -> None:
    (choice,) = typical(points((1, 0)), BIG[:0], 10)
    assert (choice.index, choice.n_alike) == (0, 1)


def test_the_least_sure_images_come_first_and_none_is_like_another() -> None:
    pool = points((0, 0), (0, 0.01), (5, 5), (9, 0))
    probabilities = np.array([[0.51, 0.49], [0.52, 0.48], [0.6, 0.4], [0.99, 0.01]], np.float32)
    choices = uncertain(pool, probabilities, 2)
    assert choices[0].index == 0
    assert choices[0].margin == pytest.approx(0.02, abs=1e-6)
    assert [choice.index for choice in uncertain(pool[:3], probabilities[:3], 2)] == [0, 2]


def test_a_pool_smaller_than_what_is_asked_for_is_ranked_whole() -> None:
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4]], np.float32)
    assert [choice.index for choice in uncertain(points((0, 0), (1, 1)), probabilities, 5)] == [1, 0]
