"""Base models found in folders."""

from pathlib import Path

import pytest

from service.errors import BaseModelNotFound, CheckpointError, ConfigurationError
from service.metalearning.header import file_digest
from service.usecases.base_models import BaseModels
from tests.usecases.conftest import save_base_model


def test_every_checkpoint_of_the_folders_is_found(tmp_path: Path) -> None:
    save_base_model(tmp_path / "a" / "one.safetensors", id_="one", suits="drawings", channels=1)
    save_base_model(tmp_path / "b" / "two.safetensors", id_="two", suits="photographs", channels=3)
    models = BaseModels([tmp_path / "b", tmp_path / "a", tmp_path / "missing"])
    assert [card.id for card in models.items()] == ["one", "two"]
    assert models.get("one").digest == file_digest(tmp_path / "a" / "one.safetensors")
    assert set(models.files()) == {tmp_path / "a" / "one.safetensors", tmp_path / "b" / "two.safetensors"}


def test_a_previous_base_model_is_found_by_its_digest_only(tmp_path: Path) -> None:
    save_base_model(tmp_path / "one.safetensors", id_="one", suits="drawings", channels=1)
    old = tmp_path / "previous" / "one.safetensors"
    save_base_model(old, id_="one", suits="drawings", channels=1, note="old")
    models = BaseModels([tmp_path])
    assert [card.path for card in models.items()] == [tmp_path / "one.safetensors"]
    found = models.by_digest(file_digest(old))
    assert found is not None
    assert found.path == old
    assert old in models.files()


def test_two_base_models_of_one_id_are_refused(tmp_path: Path) -> None:
    save_base_model(tmp_path / "a" / "one.safetensors", id_="one", suits="drawings", channels=1)
    save_base_model(tmp_path / "b" / "one.safetensors", id_="one", suits="drawings", channels=3)
    with pytest.raises(ConfigurationError, match="both have the id 'one'"):
        BaseModels([tmp_path / "a", tmp_path / "b"])


def test_a_file_that_is_no_base_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one.safetensors").write_bytes(b"no")
    with pytest.raises(CheckpointError, match=r"one\.safetensors"):
        BaseModels([tmp_path])


def test_the_default_suits_the_images(tmp_path: Path) -> None:
    save_base_model(tmp_path / "a.safetensors", id_="a", suits="photographs", channels=3)
    save_base_model(tmp_path / "b.safetensors", id_="b", suits="drawings", channels=1)
    models = BaseModels([tmp_path])
    assert models.default_for(True).id == "b"
    assert models.default_for(False).id == "a"
    assert [card.id for card in models.candidates()] == ["a", "b"]


def test_the_default_is_of_the_first_folder_whatever_another_folder_adds(tmp_path: Path) -> None:
    save_base_model(tmp_path / "shipped" / "photo.safetensors", id_="photo", suits="photographs", channels=3)
    save_base_model(tmp_path / "own" / "leaves.safetensors", id_="leaves", suits="photographs", channels=3)
    models = BaseModels([tmp_path / "shipped", tmp_path / "own"])
    assert models.default_for(False).id == "photo"


def test_a_single_base_model_is_the_default_of_every_image(tmp_path: Path) -> None:
    save_base_model(tmp_path / "a.safetensors", id_="a", suits="photographs", channels=3)
    models = BaseModels([tmp_path])
    assert models.default_for(True).id == "a"
    assert len(models.candidates()) == 1


def test_without_a_base_model_there_is_no_default(tmp_path: Path) -> None:
    with pytest.raises(BaseModelNotFound, match="no base model is loaded"):
        BaseModels([tmp_path]).default_for(True)
