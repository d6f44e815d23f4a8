"""Checkpoints and artifacts: bit-equal, the same bytes each time, and nothing wrong is taken for right."""

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from service.errors import ArtifactDamaged, CheckpointError, InvalidOption, UnknownLearner
from service.metalearning.header import (
    METADATA_KEY,
    BackboneSpec,
    BaseModelHeader,
    InputFormat,
    LearnerOffer,
    PixelScaling,
    header_from_json,
    header_to_json,
    read_header,
)
from service.metalearning.learners import LEARNERS
from service.metalearning.learners.base import Learner
from service.metalearning.learners.gradient import MAML
from service.metalearning.serialization import (
    as_stored,
    features_from_bytes,
    features_to_bytes,
    load_base_model,
    save_base_model,
    task_from_bytes,
    task_to_bytes,
)
from tests.metalearning.small_tasks import make_network, make_support_set

HEADER = BaseModelHeader(
    id="tiny-test",
    purpose="Tests.",
    suits="drawings",
    backbone=BackboneSpec("tiny"),
    n_features=16,
    input=InputFormat(side_px=8, channels=1),
    scaling=PixelScaling(mean=(0.0,), std=(1.0,)),
    learners={
        "ridge": LearnerOffer("head", {"penalty": 2.0}),
        "maml": LearnerOffer("network", {"steps": 3, "lr": 0.2}),
    },
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    network = make_network(dtype=torch.float32)
    save_base_model(tmp_path / "tiny.safetensors", network, HEADER)
    return tmp_path / "tiny.safetensors"


def test_a_checkpoint_gives_the_same_network_back(path: Path) -> None:
    network = make_network(dtype=torch.float32)
    loaded = load_base_model(path).network.state_dict()
    assert loaded.keys() == network.state_dict().keys()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in network.state_dict().items())


def test_a_checkpoint_gives_the_same_header_back(path: Path) -> None:
    assert load_base_model(path).header == read_header(path) == HEADER


def test_a_header_of_an_older_release_that_names_the_one_view_of_an_image_is_read() -> None:
    assert header_from_json(json.dumps(json.loads(header_to_json(HEADER)) | {"views": ["identity"]})) == HEADER


def test_a_header_that_asks_for_other_views_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"have the views \['identity', 'mirror'\]"):
        header_from_json(json.dumps(json.loads(header_to_json(HEADER)) | {"views": ["identity", "mirror"]}))


def test_a_learner_can_be_saved_for_its_network(path: Path, tmp_path: Path) -> None:
    learner = LEARNERS["ridge"](make_network(dtype=torch.float32))
    save_base_model(tmp_path / "other.safetensors", learner, HEADER)
    assert (tmp_path / "other.safetensors").read_bytes() == path.read_bytes()


def test_the_digest_is_that_of_the_file(path: Path) -> None:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert load_base_model(path).digest == load_base_model(path).digest == digest


def test_saving_leaves_only_the_checkpoint(path: Path) -> None:
    assert list(path.parent.iterdir()) == [path]


def test_packaged_tensors_are_not_saved(path: Path) -> None:
    network = make_network(dtype=torch.float32)
    setattr(network.backbone, "packaged_state", frozenset({"blocks.0.conv.weight"}))  # noqa: B010 - not a tensor
    save_base_model(path, network, HEADER)
    saved = safetensors.torch.load(path.read_bytes())
    head = {"head.weight", "head.bias", "head.unit_length"}
    assert set(network.state_dict()) - set(saved) == {"backbone.blocks.0.conv.weight", *head}


def test_offered_settings_are_overlaid_by_options(path: Path) -> None:
    learner = load_base_model(path).learner("maml", lr=0.5)
    assert isinstance(learner, MAML)
    assert learner.settings() == {"steps": 3, "lr": 0.5, "start": "zero", "start_scale": 1.0}


def test_a_learner_that_is_not_offered_is_refused(path: Path) -> None:
    with pytest.raises(UnknownLearner, match="tiny-test does not offer learner 'anil', only ridge, maml"):
        load_base_model(path).learner("anil")


def test_an_option_of_another_learner_is_refused(path: Path) -> None:
    with pytest.raises(InvalidOption, match="option 'lr' is unknown, expected one of penalty, scale"):
        load_base_model(path).learner("ridge", lr=0.1)


@pytest.mark.parametrize("options", [{}, {"steps": 7, "lr": 0.02}])
@pytest.mark.parametrize("name", ["meta-sgd", "maml++"])
def test_learned_rates_come_back_with_the_checkpoint(
    name: str, options: dict[str, float], path: Path, generator: torch.Generator
) -> None:
    trained, network = _trained_rates(name, generator), make_network(dtype=torch.float32)
    save_base_model(path, network, _offering(name), learned={name: trained.learned()})
    loaded = load_base_model(path).learner(name, **options)
    support = make_support_set(generator, dtype=torch.float32)
    here = LEARNERS[name](network, **{**trained.settings(), **options})
    here.take_learned(trained.learned())
    wanted, task = here.adapt(support), loaded.adapt(support)
    assert task.keys() == wanted.keys()
    assert all(torch.equal(tensor, wanted[key]) for key, tensor in task.items())
    plain = LEARNERS[name](network, **{**trained.settings(), **options}).adapt(support)
    assert not torch.equal(plain["head.weight"], wanted["head.weight"])


def test_a_learner_that_is_offered_without_learned_rates_starts_from_lr(path: Path, generator: torch.Generator) -> None:
    save_base_model(path, make_network(dtype=torch.float32), _offering("meta-sgd"))
    assert all(bool((factors == 1).all()) for factors in load_base_model(path).learner("meta-sgd").learned().values())


@pytest.mark.parametrize("learner", ["maml", "maml++", "meta-sgd", "nobody"])
def test_learned_tensors_that_no_offer_takes_are_refused(path: Path, learner: str) -> None:
    network = make_network(dtype=torch.float32)
    save_base_model(path, network, _offering("meta-sgd"), learned={learner: {"factors.x": torch.ones(2)}})
    with pytest.raises(CheckpointError, match="does not fit its header"):
        load_base_model(path)


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.7, 0.999])
def test_a_truncated_checkpoint_is_refused(path: Path, kept: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(CheckpointError, match=r"tiny\.safetensors"):
        load_base_model(path)


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n" + bytes(100), b"\x80\x04\x95" + bytes(20), b"{}" * 50])
def test_a_file_of_another_kind_is_refused(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"tiny\.safetensors"):
        load_base_model(path)


def test_a_safetensors_file_without_our_header_is_refused(path: Path) -> None:
    path.write_bytes(safetensors.torch.save({"backbone.x": torch.zeros(2)}))
    with pytest.raises(CheckpointError, match="it is not a Handful base model"):
        load_base_model(path)


@pytest.mark.parametrize(
    "tensors",
    [{}, {"backbone.blocks.9.conv.weight": torch.zeros(1)}, {"backbone.blocks.0.conv.weight": torch.zeros(4, 3, 3, 3)}],
)
def test_tensors_that_do_not_fit_the_header_are_refused(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    path.write_bytes(safetensors.torch.save(tensors, metadata={METADATA_KEY: header_to_json(HEADER)}))
    with pytest.raises(CheckpointError, match="does not fit its header: tensor backbone"):
        load_base_model(path)


def test_a_header_with_other_features_is_refused(path: Path) -> None:
    save_base_model(path, make_network(dtype=torch.float32), dataclasses.replace(HEADER, n_features=17))
    with pytest.raises(CheckpointError, match="the backbone's features are not the header's 17"):
        load_base_model(path)


@pytest.mark.parametrize("name", LEARNERS)
def test_stored_task_parameters_are_bit_equal(name: str, generator: torch.Generator) -> None:
    learner = LEARNERS[name](make_network(dtype=torch.float32))
    support = make_support_set(generator, dtype=torch.float32)
    task = learner.adapt(support)
    reloaded = task_from_bytes(task_to_bytes(task, {"learner": name}))
    assert reloaded.keys() == task.keys()
    assert torch.equal(learner.predict(reloaded, support.images), learner.predict(task, support.images))
    assert all(torch.equal(tensor, reloaded[key]) for key, tensor in task.items())


def test_the_same_task_gives_the_same_bytes() -> None:
    task = {"head.weight": torch.ones(2, 3), "head.bias": torch.zeros(2), "backbone.a": torch.ones(1)}
    metadata = {"learner": "ridge", "n_way": 2, "settings": {"penalty": 1.0, "scale": 10.0}}
    again = task_to_bytes(dict(reversed(task.items())), dict(reversed(metadata.items())))
    assert task_to_bytes(task, metadata) == again


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04" + bytes(50), task_to_bytes({"head.bias": torch.zeros(2)})])
def test_bytes_that_are_no_task_are_refused(data: bytes) -> None:
    with pytest.raises(ArtifactDamaged):
        task_from_bytes(data)


def test_truncated_task_parameters_are_refused() -> None:
    data = task_to_bytes({"head.weight": torch.ones(2, 3), "head.bias": torch.zeros(2)})
    with pytest.raises(ArtifactDamaged, match="not a safetensors file"):
        task_from_bytes(data[:-1])


def test_features_come_back_as_they_were_stored(generator: torch.Generator) -> None:
    features = 10 * torch.randn(5, 7, generator=generator)
    reloaded = features_from_bytes(features_to_bytes(features))
    assert torch.equal(reloaded, as_stored(features))
    torch.testing.assert_close(reloaded, features, rtol=1e-3, atol=1e-6)


def test_features_of_a_photograph_are_small() -> None:
    assert len(features_to_bytes(torch.ones(1, 1280))) < 2800


def test_features_beyond_half_precision_stay_finite() -> None:
    assert features_from_bytes(features_to_bytes(torch.tensor([[1e6, -1e6]]))).tolist() == [[65504.0, -65504.0]]


@pytest.mark.parametrize("data", [b"", task_to_bytes({"head.weight": torch.ones(2, 3)})])
def test_bytes_that_are_no_features_are_refused(data: bytes) -> None:
    with pytest.raises(ArtifactDamaged):
        features_from_bytes(data)


def _trained_rates(name: str, generator: torch.Generator) -> Learner:
    learner = LEARNERS[name](make_network(dtype=torch.float32), steps=3, lr=0.05)
    drawn = {key: 1 + torch.randn(tensor.shape, generator=generator) for key, tensor in learner.learned().items()}
    learner.take_learned(drawn)
    return learner


def _offering(name: str) -> BaseModelHeader:
    offer = LearnerOffer("network", {"steps": 3, "lr": 0.05})
    return dataclasses.replace(HEADER, learners={name: offer, "maml": HEADER.learners["maml"]})
