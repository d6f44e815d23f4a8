"""Domains that calibrations are fitted on, images taken elsewhere, and how constants transfer."""

import dataclasses

import pytest
import torch

from service.metalearning.learners.closed_form import ProtoNet, Ridge
from service.metalearning.trust.drawing import Domain, Task, answered, compact, draw, draw_counts
from service.metalearning.trust.fitting import draw_tasks, fit_tasks
from service.metalearning.trust.places import any_place, coarse, taken_at
from service.metalearning.trust.transfer import transfer, transfers
from tests.metalearning.small_tasks import make_network


def noisy_domain(generator: torch.Generator, *, noise: float, n_features: int = 8) -> Domain:
    """Eight classes of twelve points."""
    centres = torch.randn(8, 1, n_features, generator=generator)
    kinds = centres + noise * torch.randn(8, 12, n_features, generator=generator)
    return Domain(f"noise {noise}", list(kinds))


def tasks_of(domains: list[Domain]) -> list[Task]:
    """Twenty-four of each."""
    return draw_tasks(ProtoNet(make_network()), domains, episodes=24)


def test_look_alikes_are_the_nearest_classes(generator: torch.Generator) -> None:
    # Five classes towards one side, five towards the other: a task of three is of one side.
    sides = torch.tensor([[1.0, 0.0]] * 5 + [[-1.0, 0.0]] * 5)
    kinds = list((sides + 0.1 * torch.randn(10, 2, generator=generator))[:, None].expand(-1, 4, 2))
    order = Domain("sides", kinds, are_alike=True).order(range(10), generator)
    assert len({place < 5 for place in order[:3]}) == 1


def test_queries_kept_apart_are_never_support_images(generator: torch.Generator) -> None:
    support = [torch.full((4, 2), 1.0 + kind) for kind in range(8)]
    queries = [torch.full((3, 2), -1.0 - kind) for kind in range(8)]
    drawn = draw(Domain("apart", support, queries), (4, 4), generator)
    assert bool((drawn.support > 0).all())
    assert bool((drawn.query < 0).all())
    assert max(draw_counts(Domain("apart", support, queries), generator)) <= 4


def test_a_compact_domain_gives_the_same_answers(generator: torch.Generator) -> None:
    domain = noisy_domain(generator, noise=1.0, n_features=200)
    learner = Ridge(make_network(), intercept=0.5)
    short = compact(domain)
    assert short.support[0].shape[-1] == 96
    wide, narrow = (
        answered(learner, draw(each, (3, 3, 5), torch.Generator().manual_seed(3))) for each in (domain, short)
    )
    torch.testing.assert_close(narrow.logits, wide.logits, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(narrow.distances[1].unseen, wide.distances[1].unseen, atol=1e-3, rtol=1e-3)


def test_an_interval_from_domains_that_differ_covers_another_one(generator: torch.Generator) -> None:
    easy, hard, between = (tasks_of([noisy_domain(generator, noise=noise)]) for noise in (0.2, 2.5, 1.2))
    both = [*easy, *(dataclasses.replace(task, domain=1) for task in hard)]
    assert transfer(fit_tasks(both), between).coverage >= 90


def test_constants_are_told_on_domains_that_they_were_not_fitted_on(generator: torch.Generator) -> None:
    tasks = tasks_of([noisy_domain(generator, noise=noise) for noise in (0.5, 1.5)])
    found = list(transfers(tasks))
    assert len(found) == 2
    others = fit_tasks([task for task in tasks if task.domain])
    assert found[0] == transfer(others, [task for task in tasks if not task.domain])


def test_an_interval_of_all_accuracies_covers_every_task(generator: torch.Generator) -> None:
    tasks = tasks_of([noisy_domain(generator, noise=1.0)])
    fitted = fit_tasks(tasks)
    wide = dataclasses.replace(
        fitted,
        held_out=dataclasses.replace(fitted.held_out, low=-1e6, high=1e6),
        base_model=dataclasses.replace(fitted.base_model, low=-1e6, high=1e6),
    )
    assert transfer(wide, tasks).coverage == pytest.approx(100)


def test_images_of_one_place_are_more_alike_than_of_two(generator: torch.Generator) -> None:
    scene = torch.randint(0, 256, (1, 3, 16, 16), generator=generator, dtype=torch.uint8).expand(20, -1, -1, -1)
    places = [any_place(generator) for _ in range(6)]
    light = torch.stack([taken_at(scene, place, generator).float().mean((1, 2, 3)) for place in places])
    assert float(light.std(1).mean()) < float(light.mean(1).std())
    assert taken_at(scene, places[0], generator).shape == scene.shape


def test_coarse_images_keep_their_mean(generator: torch.Generator) -> None:
    pixels = torch.randint(0, 256, (2, 3, 16, 16), generator=generator, dtype=torch.uint8)
    assert coarse(pixels, 4).float().mean() == pytest.approx(float(pixels.float().mean()), abs=2)
