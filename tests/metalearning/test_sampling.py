import pytest
import torch

from service.errors import DatasetError
from service.metalearning.datasets import Dataset
from service.metalearning.sampling import EpisodeShape, check_drawable, draw_episode


def dataset_of(*sizes: int, query_sizes: tuple[int, ...] = ()) -> Dataset:
    """Classes a, b, ... of these sizes, each image on a row of its own."""
    rows = torch.split(torch.arange(sum(sizes) + sum(query_sizes)), [*sizes, *query_sizes])
    names = tuple("abcdefgh"[: len(sizes)])
    images = torch.zeros(sum(sizes) + sum(query_sizes), 1, 2, 2, dtype=torch.uint8)
    return Dataset("letters", images, names, tuple(rows[: len(sizes)]), tuple(rows[len(sizes) :]) or None)


def test_an_episode_has_the_images_and_labels_of_its_shape(generator: torch.Generator) -> None:
    episode = draw_episode(dataset_of(9, 9, 9), EpisodeShape(2, 3, 4), generator)

    assert episode.support_labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert episode.query_labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert (len(episode.support), len(episode.query)) == (6, 8)


def test_no_image_is_drawn_twice_in_an_episode(generator: torch.Generator) -> None:
    episode = draw_episode(dataset_of(5, 5, 5), EpisodeShape(3, 2, 3), generator)

    assert torch.cat([episode.support, episode.query]).sort().values.tolist() == list(range(15))


def test_images_of_a_label_are_of_one_class(generator: torch.Generator) -> None:
    episode = draw_episode(dataset_of(10, 10, 10), EpisodeShape(3, 2, 3), generator)

    support_classes = (episode.support // 10).view(3, 2)
    query_classes = (episode.query // 10).view(3, 3)
    assert torch.equal(support_classes[:, :1].expand(3, 2), support_classes)
    assert torch.equal(support_classes[:, :1].expand(3, 3), query_classes)


def test_the_generator_decides_the_episode() -> None:
    dataset, shape = dataset_of(20, 20, 20, 20), EpisodeShape(3, 2, 5)

    first = draw_episode(dataset, shape, torch.Generator().manual_seed(7))
    again = draw_episode(dataset, shape, torch.Generator().manual_seed(7))
    other = draw_episode(dataset, shape, torch.Generator().manual_seed(8))

    assert torch.equal(first.query, again.query)
    assert not torch.equal(first.query, other.query)


def test_classes_of_unequal_size_are_drawn_whole(generator: torch.Generator) -> None:
    episode = draw_episode(dataset_of(2, 50), EpisodeShape(2, 1, 1), generator)

    assert len(episode.support) == 2


def test_query_images_come_from_the_images_kept_for_queries(generator: torch.Generator) -> None:
    episode = draw_episode(dataset_of(3, 3, query_sizes=(4, 4)), EpisodeShape(2, 3, 4), generator)

    assert episode.support.sort().values.tolist() == [0, 1, 2, 3, 4, 5]
    assert episode.query.sort().values.tolist() == [6, 7, 8, 9, 10, 11, 12, 13]


def test_a_class_with_too_few_images_is_named_with_its_count() -> None:
    with pytest.raises(DatasetError, match="class 'b' has 5 images, need at least 6 for support and query"):
        check_drawable(dataset_of(6, 5), EpisodeShape(2, 1, 5))


def test_a_class_with_too_few_query_images_is_named_with_its_count() -> None:
    with pytest.raises(DatasetError, match="class 'b' has 1 images, need at least 2 for query"):
        check_drawable(dataset_of(3, 3, query_sizes=(2, 1)), EpisodeShape(2, 3, 2))


def test_too_few_classes_are_told() -> None:
    with pytest.raises(DatasetError, match="'letters' has 2 classes, need at least 5"):
        check_drawable(dataset_of(6, 6), EpisodeShape(5, 1, 5))
