"""What every engine does, on both of them."""

import asyncio
import hashlib
import itertools
import logging

import numpy as np
import pytest
import torch

from service.artifacts import FileArtifacts
from service.engine.base import AdaptRequest, AdaptResult, FeatureRow
from service.errors import (
    ArtifactDamaged,
    ArtifactMissing,
    BaseModelGone,
    DeadlineExceeded,
    EngineBusy,
    InvalidOption,
    InvalidRequest,
    InvalidSupportSet,
    ServiceError,
    UnknownLearner,
)
from service.metalearning.serialization import task_to_bytes
from tests.engine.conftest import Bench
from tests.engine.toy_tasks import OFFERS, toy_query, toy_support

pytestmark = pytest.mark.asyncio(loop_scope="module")

MISSING = hashlib.sha256(b"nothing has this digest").hexdigest()


@pytest.mark.parametrize("learner", OFFERS)
async def test_an_adapted_task_tells_its_classes_apart(bench: Bench, learner: str) -> None:
    result = await bench.adapt(toy_support(bench.base_model, learner=learner))
    probabilities = await bench.engine.predict(toy_query(bench.base_model, result.artifact, [2, 0, 1]), deadline_s=30)
    assert probabilities.argmax(1).tolist() == [2, 0, 1]
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)


async def test_the_report_tells_what_was_adapted_and_how(bench: Bench) -> None:
    request = toy_support(bench.base_model, learner="anil", n_way=2, n_shot=3, options={"steps": 7})
    report = (await bench.adapt(request)).report
    assert report["n_support"] == 6
    assert report["n_way"] == 2
    assert report["support_per_class"] == [3, 3]
    assert report["adapts"] == "head"
    assert report["n_parameters"] == 2 * 16 + 2
    assert report["settings"]["steps"] == 7
    assert report["settings"]["lr"] == OFFERS["anil"].settings["lr"]


async def test_an_adaptation_is_timed_in_parts(bench: Bench) -> None:
    result = await bench.adapt(toy_support(bench.base_model))
    assert set(result.timings_ms) == {"queue", "features", "adapt", "assess", "store"}
    assert min(result.timings_ms.values()) >= 0


async def test_an_adaptation_tells_how_far_it_is(bench: Bench) -> None:
    shares: list[float] = []
    with bench.engine.reserve():
        await bench.engine.adapt(toy_support(bench.base_model, n_shot=40), tell=shares.append)
    assert shares
    assert all(0 <= share < 1 for share in shares)


async def test_equal_requests_give_one_artifact(bench: Bench) -> None:
    first = await bench.adapt(toy_support(bench.base_model))
    second = await bench.adapt(toy_support(bench.base_model))
    assert first.artifact == second.artifact
    assert first.features == second.features


async def test_the_stored_task_model_has_the_size_that_was_told(bench: Bench) -> None:
    result = await bench.adapt(toy_support(bench.base_model))
    assert len(FileArtifacts(bench.artifacts).get(result.artifact)) == result.n_bytes


async def test_an_answer_does_not_depend_on_the_tasks_that_share_the_batch(bench: Bench) -> None:
    adapted = [await bench.adapt(toy_support(bench.base_model, learner=name, seed=n)) for n, name in enumerate(OFFERS)]
    requests = [toy_query(bench.base_model, result.artifact, [0, 1, 2], seed=n) for n, result in enumerate(adapted * 4)]
    together = await asyncio.gather(*(bench.engine.predict(request, deadline_s=30) for request in requests))
    alone = [await bench.engine.predict(request, deadline_s=30) for request in requests]
    np.testing.assert_allclose(np.stack(together), np.stack(alone), atol=1e-4)


async def test_an_answer_does_not_depend_on_the_images_beside_it(bench: Bench) -> None:
    artifact = (await bench.adapt(toy_support(bench.base_model))).artifact
    request = toy_query(bench.base_model, artifact, [0, 1, 2, 0, 1, 2])
    joint = await bench.engine.predict(request, deadline_s=30)
    backwards = await bench.engine.predict(
        type(request)(bench.base_model, artifact, request.pixels[::-1]), deadline_s=30
    )
    np.testing.assert_allclose(backwards[::-1], joint, atol=1e-4)


async def test_an_answer_is_the_same_after_the_cache_forgot_the_task(bench: Bench) -> None:
    request = toy_query(bench.base_model, (await bench.adapt(toy_support(bench.base_model))).artifact, [0, 1, 2])
    before = await bench.engine.predict(request, deadline_s=30)
    others = [await bench.adapt(toy_support(bench.base_model, learner="maml", seed=seed)) for seed in range(50, 56)]
    misses = bench.engine.stats().cache_misses
    after = await bench.engine.predict(request, deadline_s=30)
    assert len({result.artifact for result in others}) == 6
    assert bench.engine.stats().cache_misses == misses + 1
    np.testing.assert_array_equal(after, before)


async def test_stored_features_give_the_same_task_model(bench: Bench) -> None:
    fresh = await bench.adapt(toy_support(bench.base_model))
    again = await bench.adapt(_from_features(bench.base_model, fresh, rows=range(12)))
    assert again.artifact == fresh.artifact
    assert again.features is None


async def test_stored_features_and_sent_images_mix(bench: Bench) -> None:
    request = toy_support(bench.base_model)
    fresh = await bench.adapt(request)
    half = [row if index % 2 else None for index, row in enumerate(_rows(fresh, range(12)))]
    mixed = await bench.adapt(toy_support(bench.base_model, features=tuple(half), pixels=request.pixels[::2]))
    assert mixed.artifact == fresh.artifact
    assert mixed.features != fresh.features


async def test_a_prior_shifts_answers_by_its_odds(bench: Bench) -> None:
    balanced = await bench.adapt(toy_support(bench.base_model, n_way=2))
    shifted = await bench.adapt(toy_support(bench.base_model, n_way=2, prior=(0.9, 0.1)))
    before = await bench.engine.predict(toy_query(bench.base_model, balanced.artifact, [0, 1]), deadline_s=30)
    after = await bench.engine.predict(toy_query(bench.base_model, shifted.artifact, [0, 1]), deadline_s=30)
    np.testing.assert_allclose(after[:, 0] / after[:, 1], 9 * before[:, 0] / before[:, 1], rtol=1e-3)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"learner": "perceptron"}, UnknownLearner),
        ({"options": {"steps": 3}}, InvalidOption),
        ({"learner": "anil", "options": {"steps": 101}}, InvalidOption),
        ({"prior": (0.5, 0.5)}, InvalidOption),
        ({"labels": (0,) * 12}, InvalidSupportSet),
        ({"labels": (0, 2) * 6}, InvalidSupportSet),
        ({"labels": (0, 1)}, InvalidSupportSet),
        ({"base_model": MISSING}, BaseModelGone),
        ({"features": (FeatureRow(MISSING, 0),) * 12, "pixels": np.zeros((0, 1, 8, 8), np.uint8)}, ArtifactMissing),
        ({"pixels": np.zeros((12, 3, 8, 8), np.uint8)}, InvalidRequest),
    ],
)
async def test_an_adaptation_that_cannot_be_right_is_refused(
    bench: Bench, change: dict[str, object], error: type[ServiceError]
) -> None:
    arguments = {"base_model": bench.base_model, **change}
    with pytest.raises(error):
        await bench.adapt(toy_support(**arguments))  # type: ignore[arg-type]  # keys of the cases above


async def test_a_row_beyond_the_stored_features_is_refused(bench: Bench) -> None:
    fresh = await bench.adapt(toy_support(bench.base_model))
    with pytest.raises(ArtifactDamaged, match="row 12"):
        await bench.adapt(_from_features(bench.base_model, fresh, rows=range(1, 13)))


async def test_features_do_not_serve_a_learner_that_adapts_the_network(bench: Bench) -> None:
    fresh = await bench.adapt(toy_support(bench.base_model))
    with pytest.raises(InvalidSupportSet, match="needs every image"):
        await bench.adapt(_from_features(bench.base_model, fresh, rows=range(12), learner="maml"))


async def test_a_base_model_that_is_not_loaded_gives_no_answer(bench: Bench) -> None:
    artifact = (await bench.adapt(toy_support(bench.base_model))).artifact
    with pytest.raises(BaseModelGone, match=MISSING):
        await bench.engine.predict(toy_query(MISSING, artifact, [0]), deadline_s=30)


async def test_a_bad_item_fails_alone(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    good = (await bench.adapt(toy_support(bench.base_model))).artifact
    misfit = {"head.weight": torch.zeros(3, 5), "head.bias": torch.zeros(3)}
    wide, garbage = FileArtifacts(bench.artifacts).put_many([task_to_bytes(misfit), b"no task model"])
    artifacts = [good, MISSING, good, garbage, good, wide, good]
    requests = [toy_query(bench.base_model, artifact, [1]) for artifact in artifacts]
    outcomes = await asyncio.gather(
        *(bench.engine.predict(request, deadline_s=30) for request in requests), return_exceptions=True
    )
    answers = [outcome for outcome in outcomes if isinstance(outcome, np.ndarray)]
    assert [answer.argmax() for answer in answers] == [1, 1, 1, 1]
    assert isinstance(outcomes[5], ServiceError)
    assert isinstance(outcomes[1], ArtifactMissing)
    assert isinstance(outcomes[3], ArtifactDamaged)


async def test_a_prediction_that_is_late_is_given_up(bench: Bench) -> None:
    artifact = (await bench.adapt(toy_support(bench.base_model))).artifact
    with pytest.raises(DeadlineExceeded):
        await bench.engine.predict(toy_query(bench.base_model, artifact, [0]), deadline_s=0)
    assert bench.engine.stats().queue_items == 0


async def test_more_images_than_there_is_room_for_are_refused(bench: Bench) -> None:
    artifact = (await bench.adapt(toy_support(bench.base_model))).artifact
    request = toy_query(bench.base_model, artifact, [0] * 64)
    outcomes = await asyncio.gather(
        *(bench.engine.predict(request, deadline_s=30) for _ in range(3)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [np.ndarray, np.ndarray, EngineBusy]


async def test_places_for_adaptations_are_bounded_and_given_back(bench: Bench) -> None:
    places = [bench.engine.reserve() for _ in range(128)]
    list(itertools.starmap(type(places[0]).__enter__, [(place,) for place in places]))
    with pytest.raises(EngineBusy), bench.engine.reserve():
        pass
    list(itertools.starmap(type(places[0]).__exit__, [(place, None, None, None) for place in places]))
    with bench.engine.reserve():
        assert bench.engine.stats().queue_items == 1


async def test_a_prediction_whose_client_left_frees_its_place(bench: Bench) -> None:
    artifact = (await bench.adapt(toy_support(bench.base_model))).artifact
    request = toy_query(bench.base_model, artifact, [0] * 64)
    tasks = [asyncio.create_task(bench.engine.predict(request, deadline_s=30)) for _ in range(2)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.gather(*tasks[:1], return_exceptions=True)
    answer = await bench.engine.predict(request, deadline_s=30)
    assert len(answer) == 64
    assert (await tasks[1]).shape == answer.shape


async def test_predictions_pass_while_an_adaptation_runs(bench: Bench) -> None:
    artifact = (await bench.adapt(toy_support(bench.base_model))).artifact
    request = toy_query(bench.base_model, artifact, [2])
    long = toy_support(bench.base_model, learner="maml", n_shot=150, options={"steps": 100, "lr": 0.001})
    adaptation = asyncio.create_task(bench.adapt(long))
    await asyncio.sleep(0.2)
    answers = [await bench.engine.predict(request, deadline_s=30) for _ in range(10)]
    assert not adaptation.done()
    assert {int(answer.argmax()) for answer in answers} == {2}
    adaptation.cancel()
    await asyncio.gather(adaptation, return_exceptions=True)


async def test_an_adaptation_whose_caller_left_makes_way(bench: Bench) -> None:
    long = toy_support(bench.base_model, learner="maml", n_shot=150, options={"steps": 100, "lr": 0.001})
    adaptation = asyncio.create_task(bench.adapt(long))
    await asyncio.sleep(0.2)
    adaptation.cancel()
    await asyncio.gather(adaptation, return_exceptions=True)
    done_before = bench.engine.stats().adaptations
    await bench.adapt(toy_support(bench.base_model))
    assert bench.engine.stats().adaptations == done_before + 1


async def test_the_figures_add_up(bench: Bench) -> None:
    artifact = (await bench.adapt(toy_support(bench.base_model))).artifact
    before = bench.engine.stats()
    await bench.engine.predict(toy_query(bench.base_model, artifact, [0, 1]), deadline_s=30)
    after = bench.engine.stats()
    assert after.state == "ready"
    assert after.device.startswith("cpu")
    assert set(after.base_models) == {bench.base_model, bench.mirrored}
    assert after.batches == before.batches + 1
    assert after.batch_rows == before.batch_rows + 2
    assert after.cache_hits == before.cache_hits + 1
    assert 0 < after.cache_bytes <= 4096
    assert after.cache_items > 0


def _rows(result: AdaptResult, rows: range) -> tuple[FeatureRow, ...]:
    assert result.features is not None
    return tuple(FeatureRow(result.features, row) for row in rows)


def _from_features(base_model: str, result: AdaptResult, *, rows: range, learner: str = "ridge") -> AdaptRequest:
    no_pixels = np.zeros((0, 1, 8, 8), np.uint8)
    return toy_support(base_model, learner=learner, features=_rows(result, rows), pixels=no_pixels)
