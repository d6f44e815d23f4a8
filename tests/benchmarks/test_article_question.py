"""The table of the article's question says what was found."""

from tests.benchmarks.article_question import HEADER, SUBJECTS, Finding, recipe_of, table


def test_seeds_of_one_way_share_a_line_with_their_mean_and_spread() -> None:
    lines = table([_finding(seed=0, accuracy=90.0), _finding(seed=1, accuracy=92.0)]).removeprefix(HEADER).splitlines()
    assert len(lines) == 1
    assert "(a) pre-training, linear head | 91.00 ± 1.41 (2 seeds)" in lines[0]


def test_ways_and_shapes_have_lines_of_their_own() -> None:
    found = [_finding(way="a"), _finding(way="b"), _finding(way="b", n_shot=5)]
    assert len(table(found).removeprefix(HEADER).splitlines()) == 3


def test_every_way_sees_the_images_that_it_is_given() -> None:
    recipe = recipe_of(SUBJECTS[1], seed=0, images=192_000)
    shape = recipe.episodes.shape
    in_episodes = recipe.optimizer.steps * shape.n_way * (shape.n_shot + shape.n_query)
    assert recipe.pretraining is not None
    assert abs(in_episodes - 192_000) < 0.01 * 192_000
    assert abs(recipe.pretraining.optimizer.steps * recipe.pretraining.batch_images - 192_000) < 0.01 * 192_000


def _finding(*, way: str = "a", seed: int = 0, n_shot: int = 1, accuracy: float = 90.0) -> Finding:
    return Finding("omniglot", way, seed, 20, n_shot, 1000, accuracy, 1.0, 2.0, 1300)
