import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from service.errors import DatasetError
from service.metalearning.datasets import (
    Dataset,
    read_class_folders,
    read_grocery,
    read_omniglot,
    read_omniglot_lake,
    with_classes,
    with_rotations,
)


def decode(data: bytes) -> NDArray[np.uint8]:
    """Grey pixels at a side of 4."""
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image.convert("L").resize((4, 4)))[None]


def png(grey: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (4, 4), grey).save(file, "PNG")
    return file.getvalue()


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def greys(dataset: Dataset, index: int) -> list[int]:
    """The grey of each image of a class."""
    return [int(pixels[0, 0, 0]) for pixels in dataset.images[dataset.rows[index]]]


FILES = {
    "owl/2.png": png(2),
    "owl/1.png": png(1),
    "cat/3.PNG": png(3),
    "cat/notes.txt": b"no image",
    "cat/.hidden.png": b"hidden",
    "__MACOSX/cat/3.png": b"hidden",
    "top.png": b"stands in no class folder",
}


def test_a_zip_of_class_folders_is_read_by_class_in_the_order_of_paths(tmp_path: Path) -> None:
    dataset = read_class_folders(write_zip(tmp_path / "birds.zip", FILES), decode, name="birds")

    assert dataset.class_names == ("cat", "owl")
    assert [greys(dataset, 0), greys(dataset, 1)] == [[3], [1, 2]]
    assert dataset.images.dtype == torch.uint8


def test_a_folder_reads_as_its_zip_does(tmp_path: Path) -> None:
    zipped = read_class_folders(write_zip(tmp_path / "birds.zip", FILES), decode, name="birds")
    zipfile.ZipFile(tmp_path / "birds.zip").extractall(tmp_path / "birds")

    folder = read_class_folders(tmp_path / "birds", decode, name="birds")

    assert folder.class_names == zipped.class_names
    assert torch.equal(folder.images, zipped.images)


def test_pick_chooses_files_by_their_path(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "birds.zip", FILES)

    dataset = read_class_folders(archive, decode, name="birds", pick=lambda path: path == "owl/2.png")

    assert dataset.class_names == ("owl",)
    assert greys(dataset, 0) == [2]


def test_classes_of_one_name_in_different_folders_stay_apart(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "alphabets.zip", {"Greek/a/1.png": png(1), "Latin/a/2.png": png(2)})

    assert read_class_folders(archive, decode, name="alphabets").class_names == ("Greek/a", "Latin/a")


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "birds.zip", {"owl/1.png": b"broken"})

    with pytest.raises(DatasetError, match=r"owl/1.png cannot be read"):
        read_class_folders(archive, decode, name="birds")


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no image found"):
        read_class_folders(tmp_path, decode, name="nothing")


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="neither a folder nor a zip"):
        read_class_folders(tmp_path / "nowhere", decode, name="nothing")


def test_a_file_that_is_no_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "birds.zip").write_bytes(b"no zip")

    with pytest.raises(DatasetError, match=r"birds.zip is not a zip file"):
        read_class_folders(tmp_path / "birds.zip", decode, name="birds")


def test_a_quarter_turn_is_a_class_of_its_own() -> None:
    pixels = torch.tensor([[[[1, 2], [3, 4]]]], dtype=torch.uint8)

    turned = with_rotations(Dataset("letters", pixels, ("a",), (torch.tensor([0]),)))

    assert turned.class_names == ("a", "a@90", "a@180", "a@270")
    assert turned.images[turned.rows[1]].tolist() == [[[[2, 4], [1, 3]]]]
    assert turned.images[turned.rows[2]].tolist() == [[[[4, 3], [2, 1]]]]


def test_rotations_keep_support_and_query_images_apart() -> None:
    pixels = torch.zeros(2, 1, 2, 2, dtype=torch.uint8)

    turned = with_rotations(Dataset("letters", pixels, ("a",), (torch.tensor([0]),), (torch.tensor([1]),)))

    assert turned.query_rows is not None
    assert [rows.item() for rows in turned.rows] == [0, 2, 4, 6]
    assert [rows.item() for rows in turned.query_rows] == [1, 3, 5, 7]


def test_with_classes_keeps_the_chosen_ones_in_the_chosen_order(tmp_path: Path) -> None:
    dataset = read_class_folders(write_zip(tmp_path / "birds.zip", FILES), decode, name="birds")

    chosen = with_classes(dataset, [1])

    assert chosen.class_names == ("owl",)
    assert greys(chosen, 0) == [1, 2]


def write_omniglot(root: Path) -> Path:
    """The official tree with two characters, one for training and one for tests."""
    write_zip(root / "images_background.zip", {"images_background/Greek/character01/0001_01.png": png(1)})
    write_zip(root / "images_evaluation.zip", {"images_evaluation/Angelic/character02/0002_01.png": png(2)})
    splits = root / "splits" / "omniglot_vinyals"
    splits.mkdir(parents=True)
    (splits / "train.json").write_text(json.dumps({"background": {"Greek": ["character01"]}, "evaluation": {}}))
    (splits / "val.json").write_text(json.dumps({"background": {}, "evaluation": {"Angelic": ["character99"]}}))
    (splits / "test.json").write_text(json.dumps({"background": {}, "evaluation": {"Angelic": ["character02"]}}))
    return root


def test_omniglot_is_read_by_its_published_split(tmp_path: Path) -> None:
    root = write_omniglot(tmp_path)

    assert read_omniglot(root, "train", decode).class_names == ("images_background/Greek/character01",)
    assert read_omniglot(root, "test", decode).class_names == ("images_evaluation/Angelic/character02",)


def test_a_character_of_the_split_without_images_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"1 character .* such as images_evaluation/Angelic/character99"):
        read_omniglot(write_omniglot(tmp_path), "trainval", decode)


def test_the_test_split_of_the_real_omniglot_has_423_characters_of_20_drawings(shared_data: Path) -> None:
    dataset = read_omniglot(shared_data, "test", decode)

    assert dataset.n_classes == 423
    assert {len(rows) for rows in dataset.rows} == {20}


def test_grocery_keeps_support_and_query_photographs_apart(tmp_path: Path) -> None:
    files = {"Banana/train_1.jpg": png(1), "Banana/test_2.jpg": png(2), "classes.json": b"{}"}
    write_zip(tmp_path / "grocery_store_84.zip", files)

    dataset = read_grocery(tmp_path, "test", decode)

    assert dataset.query_rows is not None
    assert greys(dataset, 0) == [1]
    assert dataset.images[dataset.query_rows[0], 0, 0, 0].tolist() == [2]


def test_grocery_is_never_trained_on(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="for tests only"):
        read_grocery(tmp_path, "train", decode)


def write_lake(root: Path, answers: str = "run01/test/item01.png run01/training/class02.png\n") -> Path:
    """Seven background alphabets of a character, and one run of two trials."""
    write_zip(root / "images_background.zip", {f"images_background/{a}/one/1.png": png(1) for a in "abcdefg"})
    drawings = {f"run01/{kind}{n:02}.png": png(10 * n) for kind in ("test/item", "training/class") for n in (1, 2)}
    labels = f"{answers}run01/test/item02.png run01/training/class01.png\n".encode()
    write_zip(root / "omniglot_all_runs.zip", {**drawings, "run01/class_labels.txt": labels})
    return root


def test_lakes_background_alphabets_are_split_by_name(tmp_path: Path) -> None:
    root = write_lake(tmp_path)

    assert read_omniglot_lake(root, "train", decode).class_names == (
        "images_background/a/one",
        "images_background/b/one",
    )
    assert read_omniglot_lake(root, "val", decode).n_classes == 5
    assert read_omniglot_lake(root, "trainval", decode).n_classes == 7


def test_a_run_of_lakes_test_is_one_trial_with_the_answers_of_its_file(tmp_path: Path) -> None:
    runs = read_omniglot_lake(write_lake(tmp_path), "test", decode)

    assert runs.trials == ((0, 1),)
    assert runs.query_rows is not None
    assert [greys(runs, 0), greys(runs, 1)] == [[10], [20]]
    assert [int(runs.images[rows[0], 0, 0, 0]) for rows in runs.query_rows] == [20, 10]


def test_a_run_that_names_a_drawing_it_does_not_hold_is_refused(tmp_path: Path) -> None:
    root = write_lake(tmp_path, "run01/test/item09.png run01/training/class02.png\n")

    with pytest.raises(DatasetError, match="does not hold it"):
        read_omniglot_lake(root, "test", decode)
