"""Task models as ONNX files: the same answers in another program."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from service.errors import CheckpointError
from service.metalearning.episodes import SupportSet
from service.metalearning.header import BackboneSpec, BaseModelHeader, InputFormat, LearnerOffer, PixelScaling
from service.metalearning.learners import LEARNERS
from service.metalearning.learners.base import Learner, TaskParameters
from service.metalearning.onnx_files import onnx_file
from service.metalearning.onnx_template import onnx_template
from service.metalearning.preprocessing import scaled
from service.metalearning.serialization import BaseModel, load_base_model
from service.usecases.base_models import SHIPPED
from tests.metalearning.small_tasks import make_network

runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


@cache
def tiny_model(statistics: str) -> BaseModel:
    header = BaseModelHeader(
        id="tiny",
        purpose="Tests.",
        suits="drawings",
        backbone=BackboneSpec("tiny", {"statistics": statistics}),
        n_features=16,
        input=InputFormat(side_px=8, channels=1),
        scaling=PixelScaling(mean=(0.5,), std=(0.25,), invert=True),
        learners={name: LearnerOffer("head") for name in LEARNERS},
    )
    return BaseModel(header, "0" * 64, make_network(statistics=statistics, dtype=torch.float32))


@cache
def template(statistics: str) -> bytes:
    return onnx_template(tiny_model(statistics))


def random_pixels(model: BaseModel, n_images: int, *, seed: int = 0) -> torch.Tensor:
    wanted = model.header.input
    shape = (n_images, wanted.channels, wanted.side_px, wanted.side_px)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def adapted(model: BaseModel, learner: Learner, n_way: int = 4) -> TaskParameters:
    images = scaled(random_pixels(model, 2 * n_way, seed=9), model.header.scaling)
    return learner.adapt(SupportSet(images, torch.arange(n_way).repeat(2)))


def arrays(task: TaskParameters) -> dict[str, NDArray[Any]]:
    return {name: tensor.numpy() for name, tensor in task.items()}


def difference(model: BaseModel, learner: Learner, task: TaskParameters, data: bytes) -> float:
    """The largest difference to the learner's own probabilities, for 1 image and for 7."""
    session = runtime.InferenceSession(data)
    few, many = (random_pixels(model, n_images) for n_images in (1, 7))
    answers = [session.run(None, {"pixels": pixels.numpy()})[0] for pixels in (few, many)]
    expected = [learner.predict(task, scaled(pixels, model.header.scaling)).numpy() for pixels in (few, many)]
    return float(np.abs(np.concatenate(answers) - np.concatenate(expected)).max())


@pytest.mark.parametrize("statistics", ["running", "support"])
@pytest.mark.parametrize("name", LEARNERS)
def test_a_file_gives_the_answers_of_every_learner(name: str, statistics: str) -> None:
    model = tiny_model(statistics)
    learner = LEARNERS[name](model.network)
    task = adapted(model, learner)
    assert difference(model, learner, task, onnx_file(template(statistics), arrays(task), {})) < 1e-4


@pytest.mark.timeout(600)  # a busy machine takes minutes for the trace of `photo`
@pytest.mark.parametrize("id_", ["omniglot-conv4", "photo"])
def test_a_file_of_a_shipped_base_model_gives_its_answers(id_: str) -> None:
    model = load_base_model(SHIPPED / f"{id_}.safetensors")
    of_model = onnx_template(model)
    for name in model.header.learners:
        learner = model.learner(name)
        task = adapted(model, learner)
        assert difference(model, learner, task, onnx_file(of_model, arrays(task), {})) < 1e-4, name


@pytest.mark.parametrize("n_way", [2, 11])
def test_a_task_has_any_number_of_classes(n_way: int) -> None:
    model = tiny_model("running")
    learner = LEARNERS["ridge"](model.network)
    task = adapted(model, learner, n_way)
    data = onnx_file(template("running"), arrays(task), {})
    assert difference(model, learner, task, data) < 1e-4
    onnx.checker.check_model(data, full_check=True)
    (output,) = runtime.InferenceSession(data).get_outputs()
    assert (output.name, output.shape[1]) == ("probabilities", n_way)


def test_an_unknown_score_is_a_second_output() -> None:
    model = tiny_model("running")
    task = arrays(adapted(model, LEARNERS["ridge"](model.network)))
    rng = np.random.default_rng(0)
    means, weights = rng.normal(size=(4, 16)).astype(np.float16), np.array([-3.0, 0.1], np.float32)
    data = onnx_file(
        onnx_template(model, tells_unknown=True), task | {"head.means": means, "head.unknown": weights}, {}
    )

    pixels = random_pixels(model, 7)
    probabilities, unknown = runtime.InferenceSession(data).run(None, {"pixels": pixels.numpy()})

    features = model.network.backbone(scaled(pixels, model.header.scaling)).detach().numpy()
    distances = ((features[:, None] - means.astype(np.float32)) ** 2).sum(-1).min(1)
    logits = features @ task["head.weight"].T + task["head.bias"]
    np.testing.assert_allclose(unknown, 1 / (1 + np.exp(3 - 0.1 * distances)), atol=1e-5)
    np.testing.assert_allclose(probabilities.argmax(1), logits.argmax(1))


def test_a_file_tells_its_metadata_and_nothing_of_this_machine() -> None:
    task = adapted(tiny_model("running"), LEARNERS["ridge"](tiny_model("running").network))
    data = onnx_file(template("running"), arrays(task), {"labels": '["Möwe", "owl"]'})
    session = runtime.InferenceSession(data)
    assert session.get_modelmeta().custom_metadata_map == {"labels": '["Möwe", "owl"]'}
    (pixels,) = session.get_inputs()
    assert (pixels.name, pixels.type, pixels.shape[1:]) == ("pixels", "tensor(uint8)", [1, 8, 8])
    assert str(Path(__file__).parents[2]).encode() not in data
    assert b"forward" not in data


def test_equal_task_models_give_equal_files() -> None:
    task = adapted(tiny_model("running"), LEARNERS["maml"](tiny_model("running").network))
    first, second = (onnx_file(template("running"), arrays(task), {"a": "1", "b": "2"}) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("head.scale", ()),
        ("head.unknown", (3,)),
        ("head.weight", (4, 17)),
        ("backbone.blocks.0.conv.weight", (4, 1, 3)),
    ],
)
def test_a_tensor_that_has_no_place_is_refused(name: str, shape: tuple[int, ...]) -> None:
    task = adapted(tiny_model("running"), LEARNERS["ridge"](tiny_model("running").network))
    with pytest.raises(CheckpointError, match=name):
        onnx_file(template("running"), arrays(task) | {name: np.zeros(shape, np.float32)}, {})
