"""Finding images on the disk."""

import json
import zipfile
from pathlib import Path

import pytest

from service.cli.sources import image_paths, labelled_images
from service.client import ImageSource
from service.errors import InvalidRequest, InvalidSupportSet, ServiceError

FILES = {
    "mugs/whole/1.jpg": b"w1",
    "mugs/whole/2.PNG": b"w2",
    "mugs/chipped/1.jpg": b"c1",
    "mugs/chipped/notes.txt": b"text",
    "mugs/loose.jpg": b"none",
    "mugs/.trash/3.jpg": b"hidden",
    "mugs/__MACOSX/whole/1.jpg": b"leftover",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "mugs"


def zipped(folder: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(folder / "saved.zip", "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return folder / "saved.zip"


def read(source: ImageSource) -> bytes:
    with source.open() as file:
        return file.read()


def test_the_label_of_an_image_is_the_name_of_its_folder(folder: Path) -> None:
    images, _ = labelled_images(folder)
    assert [(image.label, image.source.name, read(image.source)) for image in images] == [
        ("chipped", "1.jpg", b"c1"),
        ("whole", "1.jpg", b"w1"),
        ("whole", "2.PNG", b"w2"),
    ]


def test_files_that_are_no_images_of_a_class_are_told(folder: Path) -> None:
    _, others = labelled_images(folder)
    assert others == ["chipped/notes.txt", "loose.jpg"]


def test_a_zip_is_read_like_the_folder_it_was_made_of(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "mugs.zip", "w") as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, file.relative_to(folder))
    from_zip, others = labelled_images(tmp_path / "mugs.zip")
    from_folder, others_in_folder = labelled_images(folder)
    assert [(image.path, image.source.size_bytes, read(image.source)) for image in from_zip] == [
        (image.path, image.source.size_bytes, read(image.source)) for image in from_folder
    ]
    assert sorted(others) == sorted(others_in_folder)


@pytest.mark.parametrize("base", ["", "saved/letters/"])
def test_a_manifest_tells_labels_groups_and_what_is_left_out(tmp_path: Path, base: str) -> None:
    manifest = {
        "classes": [{"folder": "a_b", "label": "a/b"}, {"folder": "c", "label": "c", "is_left_out": True}],
        "groups": {"a_b/1.png": "burst"},
    }
    path = zipped(
        tmp_path, {f"{base}a_b/1.png": "x", f"{base}c/2.png": "y", f"{base}handful.json": json.dumps(manifest)}
    )
    images, others = labelled_images(path)
    told = [(image.label, image.source.name, image.group, image.is_left_out) for image in images]
    assert told == [("a/b", "1.png", "burst", False), ("c", "2.png", None, True)]
    assert others == []


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"a/1.png": "x", "handful.json": "[]"}, "not one that Handful wrote"),
        ({"a/1.png": "x", "handful.json": "{}", "a/handful.json": "{}"}, "2 files handful.json"),
        ({"a/1.png": "x", "handful.json": " " * (2**22 + 1)}, "more than 4194304 bytes"),
    ],
)
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, files: dict[str, str], says: str) -> None:
    with pytest.raises(ServiceError, match=says):
        labelled_images(zipped(tmp_path, files))


def test_a_manifest_that_is_packed_in_an_unknown_way_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path, {"a/1.png": "x", "handful.json": "{}"})
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        data[data.rindex(signature) + offset] = 77  # the method of the second file
    path.write_bytes(data)
    with pytest.raises(InvalidRequest, match=r"handful\.json in .* cannot be unpacked"):
        labelled_images(path)


def test_labels_are_composed_characters(tmp_path: Path) -> None:
    (tmp_path / "cafe\u0301").mkdir()
    (tmp_path / "cafe\u0301" / "1.jpg").write_bytes(b"x")
    images, _ = labelled_images(tmp_path)
    assert images[0].label == "caf\u00e9"


def test_a_file_that_is_no_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mugs.zip").write_bytes(b"not a zip")
    with pytest.raises(InvalidRequest, match="neither a folder nor a zip"):
        labelled_images(tmp_path / "mugs.zip")


def test_a_folder_of_loose_images_is_refused_with_the_form_expected(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(b"x")
    with pytest.raises(InvalidSupportSet, match="CLASS/IMAGE"):
        labelled_images(tmp_path)


def test_images_to_predict_are_files_by_name_and_what_folders_hold(folder: Path) -> None:
    notes = folder / "chipped" / "notes.txt"
    assert image_paths([notes, folder / "whole"]) == [notes, folder / "whole" / "1.jpg", folder / "whole" / "2.PNG"]


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="there is no file"):
        image_paths([tmp_path / "1.jpg"])


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="has no image"):
        image_paths([tmp_path])
