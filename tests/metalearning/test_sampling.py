import dataclasses

import pytest
import torch

from service.errors import DatasetError
from service.metalearning.datasets import Dataset
from service.metalearning.sampling import EpisodeShape, check_drawable, draw_episode, trial_episodes


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
    with pytest.raises(DatasetError, match="class 'b' has 1 image, need at least 2 for query"):
        check_drawable(dataset_of(3, 3, query_sizes=(2, 1)), EpisodeShape(2, 3, 2))


def test_too_few_classes_are_told() -> None:
    with pytest.raises(DatasetError, match="'letters' has 2 classes, need at least 5"):
        check_drawable(dataset_of(6, 6), EpisodeShape(5, 1, 5))


def test_an_episode_within_a_group_has_classes_of_one_folder(generator: torch.Generator) -> None:
    dataset = alphabets("greek/a", "greek/b", "greek/c", "latin/a", "latin/b", "latin/c")

    episodes = [draw_episode(dataset, EpisodeShape(3, 1, 1), generator, within_group=1.0) for _ in range(20)]

    assert {tuple(sorted((rows.support // 2).tolist())) for rows in episodes} == {(0, 1, 2), (3, 4, 5)}


def test_a_turned_alphabet_is_a_group_of_its_own() -> None:
    assert alphabets("greek/a", "greek/a@90", "latin/a", "greek/b").groups == (0, 1, 2, 0)


def test_a_group_with_too_few_classes_is_filled_up_with_others(generator: torch.Generator) -> None:
    dataset = alphabets("greek/a", "greek/b", "latin/a")

    rows = draw_episode(dataset, EpisodeShape(3, 1, 1), generator, within_group=1.0)

    assert sorted((rows.support // 2).tolist()) == [0, 1, 2]


def test_without_groups_the_same_episodes_are_drawn_as_ever() -> None:
    dataset = alphabets("greek/a", "greek/b", "latin/a")

    rows = draw_episode(dataset, EpisodeShape(2, 1, 1), torch.Generator().manual_seed(4))

    order = torch.randperm(3, generator=torch.Generator().manual_seed(4))
    assert (rows.support // 2).tolist() == order[:2].tolist()


def test_trials_are_drawn_with_their_own_classes(generator: torch.Generator) -> None:
    dataset = dataclasses.replace(alphabets("a", "b", "c", "d"), trials=((3, 1), (0, 2)))

    first, second = trial_episodes(dataset, EpisodeShape(2, 1, 1), generator)

    assert [(first.support // 2).tolist(), (second.query // 2).tolist()] == [[3, 1], [0, 2]]


def alphabets(*names: str) -> Dataset:
    """Classes of these names, of two images each."""
    images = torch.zeros(2 * len(names), 1, 2, 2, dtype=torch.uint8)
    return Dataset("alphabets", images, names, tuple(torch.split(torch.arange(2 * len(names)), 2)))
