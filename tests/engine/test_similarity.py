"""Similarities of images and stored examples, by both engines."""

import numpy as np
import pytest
import torch

from service.artifacts import FileArtifacts
from service.engine.base import FeatureRow, SimilarityRequest
from service.errors import ArtifactDamaged, ArtifactMissing, BaseModelGone, DeadlineExceeded, InvalidRequest
from service.metalearning.serialization import features_from_bytes
from tests.engine.conftest import Bench
from tests.engine.toy_tasks import toy_images, toy_support

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def stored(bench: Bench, base_model: str, *, seed: int = 0) -> str:
    """Digest of the features of `toy_support`: twelve examples, classes 0, 1, 2 in turn."""
    digest = (await bench.adapt(toy_support(base_model, seed=seed))).features
    assert digest is not None
    return digest


def rows(digest: str, *wanted: int) -> tuple[FeatureRow, ...]:
    return tuple(FeatureRow(digest, row) for row in wanted)


@pytest.mark.parametrize("backbone", ["base_model", "mirrored"])
async def test_an_example_is_as_like_itself_as_can_be(bench: Bench, backbone: str) -> None:
    base_model = getattr(bench, backbone)
    digest = await stored(bench, base_model)
    pixels = toy_images([0, 1, 2] * 4, seed=0)[:3]
    found = await bench.engine.similarities(SimilarityRequest(base_model, rows(digest, 0, 1, 2), pixels), deadline_s=20)
    assert found.shape == (3, 3)
    np.testing.assert_allclose(found.diagonal(), 1, atol=1e-3)  # features are stored as halves
    assert found.max() <= 1


async def test_a_similarity_is_the_cosine_of_the_features(bench: Bench) -> None:
    digest = await stored(bench, bench.base_model)
    features = features_from_bytes(FileArtifacts(bench.artifacts).get(digest))
    pixels = toy_images([0, 1, 2] * 4, seed=0)[4:5]
    found = await bench.engine.similarities(
        SimilarityRequest(bench.base_model, rows(digest, 7, 2), pixels), deadline_s=20
    )
    expected = torch.cosine_similarity(features[4], features[[7, 2]], dim=1)
    np.testing.assert_allclose(found[0], expected.numpy(), atol=1e-3)


async def test_examples_of_several_adaptations_are_compared_together(bench: Bench) -> None:
    first, second = [await stored(bench, bench.base_model, seed=seed) for seed in (3, 4)]
    pixels = toy_images([0, 1, 2] * 4, seed=4)[:1]
    request = SimilarityRequest(bench.base_model, rows(first, 0) + rows(second, 0), pixels)
    ((other, itself),) = await bench.engine.similarities(request, deadline_s=20)
    assert other < itself == pytest.approx(1, abs=1e-3)


async def test_a_row_that_is_not_there_is_told(bench: Bench) -> None:
    digest = await stored(bench, bench.base_model)
    with pytest.raises(ArtifactDamaged, match="no row 12"):
        await bench.engine.similarities(
            SimilarityRequest(bench.base_model, rows(digest, 12), toy_images([0])), deadline_s=20
        )


@pytest.mark.parametrize(
    ("base_model", "digest", "side_px", "error"),
    [
        (None, "0" * 64, 8, ArtifactMissing),
        ("f" * 64, "0" * 64, 8, BaseModelGone),
        (None, "0" * 64, 9, InvalidRequest),
    ],
)
async def test_what_cannot_be_compared_is_told(
    bench: Bench, base_model: str | None, digest: str, side_px: int, error: type[Exception]
) -> None:
    pixels = np.zeros((1, 1, side_px, side_px), np.uint8)
    request = SimilarityRequest(base_model or bench.base_model, rows(digest, 0), pixels)
    with pytest.raises(error):
        await bench.engine.similarities(request, deadline_s=20)


async def test_a_comparison_that_is_late_is_given_up(bench: Bench) -> None:
    digest = await stored(bench, bench.base_model)
    with pytest.raises(DeadlineExceeded):
        await bench.engine.similarities(
            SimilarityRequest(bench.base_model, rows(digest, 0), toy_images([0])), deadline_s=0
        )
