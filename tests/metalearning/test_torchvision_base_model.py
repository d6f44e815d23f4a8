"""A base model of a torchvision network: its file, its answers, its export; weights are random."""

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from service.errors import CheckpointError
from service.metalearning.episodes import SupportSet
from service.metalearning.header import file_digest
from service.metalearning.learners.base import Learner, TaskParameters
from service.metalearning.onnx_files import onnx_file
from service.metalearning.onnx_template import onnx_template
from service.metalearning.preprocessing import scaled
from service.metalearning.projection import PHOTOGRAPHS, Domain
from service.metalearning.serialization import BaseModel, load_base_model, save_base_model
from service.metalearning.torchvision_base_model import frozen, make_base_model
from tests.metalearning.random_weights import save_random_weights

MODEL = "resnet18"
SIDE_PX = 32


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a base model, with that of the weights beside it."""
    folder = tmp_path_factory.mktemp("models")
    made = frozen(MODEL, save_random_weights(MODEL, folder), side_px=SIDE_PX)
    labels = torch.arange(4).repeat(5)
    pooled = torch.randn(20, made.backbone.n_features, generator=torch.Generator().manual_seed(0))
    network, header = make_base_model(made, {PHOTOGRAPHS: Domain((pooled,), labels)}, id_="mine", purpose="Tests.")
    save_base_model(folder / "mine.safetensors", network, header)
    return folder / "mine.safetensors"


@pytest.fixture(scope="module")
def base(checkpoint: Path) -> BaseModel:
    """That base model."""
    return load_base_model(checkpoint)


def random_pixels(n_images: int, seed: int = 0) -> Tensor:
    """Images of noise."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n_images, 3, SIDE_PX, SIDE_PX), dtype=torch.uint8, generator=generator)


def adapted(base: BaseModel, name: str) -> tuple[Learner, TaskParameters]:
    """A learner, and a task of three classes."""
    learner = base.learner(name)
    support = SupportSet(scaled(random_pixels(6, seed=1), base.header.scaling), torch.arange(3).repeat(2))
    return learner, learner.adapt(support)


def test_the_checkpoint_holds_what_was_learned_and_not_the_network(checkpoint: Path) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in safetensors.torch.load_file(checkpoint).items()}
    assert shapes == {
        "backbone.directions": (512, 192),
        "backbone.shortening": (192,),
        "backbone.members.0.centre": (512,),
        "backbone.members.0.gains": (4800,),
        "backbone.members.0.shifts": (4800,),
    }


def test_the_header_names_the_weights_by_their_digest(checkpoint: Path, base: BaseModel) -> None:
    assert base.header.backbone.name == "torchvision:resnet18"
    digest = file_digest(checkpoint.with_name("resnet18.pth"))
    assert base.header.backbone.arguments["weights_sha256"] == digest
    assert (base.header.id, base.header.suits, base.header.input.side_px) == ("mine", "photographs", SIDE_PX)


def test_a_file_that_is_written_again_is_the_same(base: BaseModel, checkpoint: Path, tmp_path: Path) -> None:
    save_base_model(tmp_path / "again.safetensors", base.network, base.header)
    assert file_digest(tmp_path / "again.safetensors") == file_digest(checkpoint)


def test_a_checkpoint_without_its_weights_is_refused(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "mine.safetensors").symlink_to(checkpoint)
    with pytest.raises(CheckpointError, match=r"The weights file resnet18\.pth with SHA-256 \w{64} is not in"):
        load_base_model(tmp_path / "mine.safetensors")


def test_a_checkpoint_with_other_weights_is_refused(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "mine.safetensors").symlink_to(checkpoint)
    (tmp_path / "resnet18.pth").write_bytes(checkpoint.with_name("resnet18.pth").read_bytes() + b"one more")
    with pytest.raises(CheckpointError, match=r"resnet18\.pth has SHA-256 \w{64} and is another file"):
        load_base_model(tmp_path / "mine.safetensors")


@pytest.mark.parametrize("name", ["ridge", "protonet", "anil"])
def test_a_prediction_ignores_the_images_beside_it(base: BaseModel, name: str) -> None:
    learner, task = adapted(base, name)
    images = scaled(random_pixels(4), base.header.scaling)
    alone = torch.cat([learner.predict(task, image[None]) for image in images])
    torch.testing.assert_close(learner.predict(task, images), alone, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_an_exported_task_gives_its_answers(base: BaseModel) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    learner, task = adapted(base, "ridge")
    data = onnx_file(onnx_template(base), {name: tensor.numpy() for name, tensor in task.items()}, {})
    pixels = random_pixels(5)
    (answers,) = runtime.InferenceSession(data).run(None, {"pixels": pixels.numpy()})
    expected = learner.predict(task, scaled(pixels, base.header.scaling)).numpy()
    assert float(np.abs(answers - expected).max()) < 1e-4
