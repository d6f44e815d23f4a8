"""The shipped base model for photographs: its file, its input, and what it does on real photographs."""

import zipfile
from collections import defaultdict
from pathlib import Path, PurePosixPath

import pytest
import safetensors.torch
import torch
from torch import Tensor

from service.imaging import decode
from service.metalearning.episodes import SupportSet
from service.metalearning.header import PixelScaling
from service.metalearning.learners.head_learner import HeadLearner
from service.metalearning.photo import SCALING
from service.metalearning.preprocessing import scaled
from service.metalearning.serialization import BaseModel, load_base_model
from tests.benchmarks.grocery import Kinds, read_kinds, unbalanced_tasks

PHOTO = Path(__file__).resolve().parents[2] / "service" / "base_models" / "photo.safetensors"
LOOK_ALIKES = ("Golden-Delicious", "Granny-Smith", "Pink-Lady", "Red-Delicious", "Royal-Gala")


@pytest.fixture(scope="module")
def photo() -> BaseModel:
    """The shipped checkpoint."""
    return load_base_model(PHOTO)


@pytest.fixture(scope="module")
def ridge(photo: BaseModel) -> HeadLearner:
    """Its default learner."""
    learner = photo.learner(photo.header.default_learner)
    assert isinstance(learner, HeadLearner)
    return learner


@pytest.fixture(scope="module")
def look_alikes(photo: BaseModel, shared_data: Path) -> Kinds:
    """Features of 34 apples of each of five kinds to adapt on, and 8 to ask for."""
    return read_kinds(photo, shared_data, only=LOOK_ALIKES, most=(34, 8))


def test_the_checkpoint_holds_what_was_learned_and_nothing_of_the_packages() -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in safetensors.torch.load_file(PHOTO).items()}
    assert shapes == {
        "backbone.directions": (4832, 192),
        "backbone.shortening": (192,),
        **{
            f"backbone.members.{index}.{name}": (size,)
            for index, (n_features, n_channels) in enumerate([(1632, 29048), (1600, 26832), (1600, 21008)])
            for name, size in (("centre", n_features), ("gains", n_channels), ("shifts", n_channels))
        },
    }


def test_it_answers_for_photographs_by_ridge_prototypes_and_anil(photo: BaseModel) -> None:
    header = photo.header
    assert (header.id, header.suits, header.default_learner) == ("photo", "photographs", "ridge")
    assert {name: offer.adapts for name, offer in header.learners.items()} == {
        "ridge": "head",
        "protonet": "head",
        "anil": "head",
    }


def test_every_offer_makes_its_learner(photo: BaseModel) -> None:
    learners = [photo.learner(name) for name in photo.header.learners]
    assert [learner.adapts for learner in learners] == ["head"] * 3


def test_pixels_are_scaled_as_the_weights_were_trained() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).repeat(1, 3, 1, 1)
    torch.testing.assert_close(scaled(pixels, SCALING), (pixels.float() - 127) / 128)
    assert isinstance(SCALING, PixelScaling)


def test_a_photograph_gets_the_same_answer_alone_and_among_others(
    photo: BaseModel, ridge: HeadLearner, sample_photographs: dict[str, Tensor]
) -> None:
    support, queries = _split(photo, sample_photographs, n_shot=2)
    task = ridge.adapt(support)
    images = queries.images[::10]
    alone = torch.cat([ridge.predict(task, image[None]) for image in images])
    torch.testing.assert_close(ridge.predict(task, images), alone, rtol=0, atol=1e-4)
    torch.testing.assert_close(ridge.predict(task, images.flip(0)), alone.flip(0), rtol=0, atol=1e-4)


def test_five_photographs_of_each_of_five_groceries_tell_them_apart(
    photo: BaseModel, ridge: HeadLearner, sample_photographs: dict[str, Tensor]
) -> None:
    support, queries = _split(photo, sample_photographs, n_shot=5)
    answers = ridge.predict(ridge.adapt(support), queries.images).argmax(dim=1)
    assert (answers == queries.labels).float().mean() >= 0.88


@pytest.mark.slow
@pytest.mark.parametrize(("few", "many", "n_kinds"), [(3, 20, 1), (3, 100, 3)])
def test_more_images_of_the_other_kinds_do_no_harm(
    ridge: HeadLearner, look_alikes: Kinds, few: int, many: int, n_kinds: int
) -> None:
    tasks = list(unbalanced_tasks(ridge, look_alikes, few=few, many=many, n_kinds=n_kinds, draws=5))
    accuracy = sum(task.accuracy for task in tasks) / len(tasks)
    assert accuracy >= sum(task.subset_accuracy for task in tasks) / len(tasks)


@pytest.fixture(scope="module")
def sample_photographs(photo: BaseModel, shared_data: Path) -> dict[str, Tensor]:
    """Photographs of five groceries at their native size, as the base model's pixels, by kind."""
    found: defaultdict[str, list[Tensor]] = defaultdict(list)
    with zipfile.ZipFile(shared_data / "sample_uploads_grocery.zip") as archive:
        for path in sorted(name for name in archive.namelist() if name.endswith(".jpg")):
            pixels = decode(archive.read(path), [photo.header.input], max_pixels=10**8).arrays[0]
            found[PurePosixPath(path).parent.name].append(torch.from_numpy(pixels))
    return {kind: torch.stack(images) for kind, images in found.items()}


def _split(photo: BaseModel, photographs: dict[str, Tensor], *, n_shot: int) -> tuple[SupportSet, SupportSet]:
    """The first photographs of each kind as the support set, the others as queries."""

    def part(chosen: slice) -> SupportSet:
        images = [pixels[chosen] for pixels in photographs.values()]
        labels = torch.arange(len(images)).repeat_interleave(torch.tensor([len(of_kind) for of_kind in images]))
        return SupportSet(scaled(torch.cat(images), photo.header.scaling), labels)

    return part(slice(n_shot)), part(slice(n_shot, None))
