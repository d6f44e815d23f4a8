"""Mixed passes over one base model."""

import numpy as np
import pytest
import torch

from service.engine.inference import Inference, Question
from service.metalearning.episodes import SupportSet
from service.metalearning.learners.base import TaskParameters
from service.metalearning.serialization import BaseModel, load_base_model
from tests.engine.conftest import ToyModel
from tests.engine.toy_tasks import toy_images


@pytest.fixture
def model(toy: ToyModel) -> BaseModel:
    return load_base_model(toy.path)


def make_inference(model: BaseModel, *, device: str = "cpu", rows_a_pass: int = 64) -> Inference:
    network = model.network.to(device)
    return Inference(network, model.header.scaling, torch.device(device), rows_a_pass)


def make_task(inference: Inference, model: BaseModel, learner: str, *, n_way: int = 3, seed: int = 0) -> TaskParameters:
    images = inference.upload(toy_images(list(range(n_way)) * 2, seed=seed))
    support = SupportSet(images, torch.arange(n_way).repeat(2).to(images.device))
    return model.learner(learner).to(images.device).adapt(support)


def make_questions(inference: Inference, model: BaseModel) -> list[Question]:
    tasks = [
        make_task(inference, model, "ridge"),
        make_task(inference, model, "maml"),
        make_task(inference, model, "protonet", n_way=4),
        make_task(inference, model, "maml", n_way=2),
        make_task(inference, model, "maml", seed=5),
    ]
    order = [0, 1, 2, 3, 4, 1, 0]
    return [Question(tasks[task], toy_images([0, 1] * (n + 1), seed=n)) for n, task in enumerate(order)]


def assert_equal_alone(inference: Inference, questions: list[Question]) -> None:
    together = inference.probabilities(questions)
    alone = [inference.probabilities([question])[0] for question in questions]
    assert [answer.shape for answer in together] == [answer.shape for answer in alone]
    np.testing.assert_allclose(
        np.concatenate([answer.ravel() for answer in together]),
        np.concatenate([answer.ravel() for answer in alone]),
        atol=1e-4,
    )


def test_tasks_of_every_kind_share_a_batch(model: BaseModel) -> None:
    inference = make_inference(model)
    assert_equal_alone(inference, make_questions(inference, model))


def test_a_cosine_head_beside_a_linear_one_sees_directions_only(model: BaseModel) -> None:
    inference = make_inference(model)
    linear = make_task(inference, model, "ridge")
    cosine: TaskParameters = {**linear, "head.unit_length": torch.ones(())}
    pixels = toy_images([0, 1, 2])
    answers = inference.probabilities([Question(linear, pixels), Question(cosine, pixels)])
    images = inference.upload(pixels)
    np.testing.assert_allclose(answers[0], model.learner("ridge").predict(linear, images), atol=1e-6)
    np.testing.assert_allclose(answers[1], model.learner("ridge").predict(cosine, images), atol=1e-6)
    assert not np.allclose(answers[0], answers[1])


def test_an_answer_is_that_of_the_learner(model: BaseModel) -> None:
    inference = make_inference(model)
    questions = make_questions(inference, model)
    answers = inference.probabilities(questions)
    wanted = [model.learner("ridge").predict(q.task, inference.upload(q.pixels)).numpy() for q in questions]
    np.testing.assert_allclose(
        np.concatenate([answer.ravel() for answer in answers]),
        np.concatenate([answer.ravel() for answer in wanted]),
        atol=1e-4,
    )


def test_a_pass_has_no_more_rows_than_allowed(model: BaseModel) -> None:
    inference = make_inference(model, rows_a_pass=3)
    passes: list[int] = []
    hook = model.network.backbone.register_forward_pre_hook(lambda _, images: passes.append(len(images[0])))
    answers = inference.probabilities([Question(make_task(inference, model, "ridge"), toy_images([0] * 10))])
    hook.remove()
    assert max(passes[1:]) <= 3
    assert len(answers[0]) == 10


def test_replaced_backbones_answer_the_same_in_a_vmap(model: BaseModel) -> None:
    inference = make_inference(model)
    questions = [question for question in make_questions(inference, model) if len(question.task) > 2]
    with torch.inference_mode():
        together = inference.networks_together(questions)
    wanted = inference.probabilities(questions)
    assert len(questions) == 4
    np.testing.assert_allclose(
        np.concatenate([logits.softmax(-1).numpy().ravel() for logits in together]),
        np.concatenate([answer.ravel() for answer in wanted]),
        atol=1e-4,
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA card")
def test_a_card_gives_the_answers_of_the_processor(model: BaseModel, toy: ToyModel) -> None:
    on_processor = make_inference(load_base_model(toy.path))
    on_card = make_inference(model, device="cuda")
    questions = make_questions(on_processor, load_base_model(toy.path))
    moved = [Question({name: t.cuda() for name, t in q.task.items()}, q.pixels) for q in questions]
    assert_equal_alone(on_card, moved)
    np.testing.assert_allclose(
        np.concatenate([answer.ravel() for answer in on_card.probabilities(moved)]),
        np.concatenate([answer.ravel() for answer in on_processor.probabilities(questions)]),
        atol=1e-3,
    )
