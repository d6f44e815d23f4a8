"""Images on the disk: a folder of class folders, or a zip of one."""

import unicodedata
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, cast

from service.errors import InvalidRequest, InvalidSupportSet

if TYPE_CHECKING:
    from service.client import ImageSource

EXTENSIONS = frozenset(
    ".jpg .jpeg .jpe .jfif .png .webp .avif .bmp .gif .tif .tiff .heic .heif".split()  # noqa: SIM905  # readable
)
"""What counts as an image in a folder; a file that is named on the command line is sent whatever its name."""


_MANIFEST = "handful.json"


def labelled_images(source: Path) -> "tuple[list[tuple[str, ImageSource]], list[str]]":
    """Every image with its label, the name of its own folder, by path; and the names of the other files.

    Raises:
        InvalidRequest: the source is no folder and no zip, or cannot be read, or says more than its folders.
        InvalidSupportSet: no image lies in a folder of its own class.
    """
    if source.is_dir():
        found, others = _in_folder(source)
    elif zipfile.is_zipfile(source):
        found, others = _in_zip(source)
    else:
        raise InvalidRequest(f"{source} is neither a folder nor a zip file")
    if not found:
        raise InvalidSupportSet(f"{source} holds no class folders with images; expected {source.name}/CLASS/IMAGE")
    return found, others


def image_paths(paths: Iterable[Path]) -> list[Path]:
    """The files named, and the images inside the folders named, by path.

    Raises:
        InvalidRequest: a path does not exist, or a folder has no image.
    """
    found: list[Path] = []
    for path in paths:
        inside = [file for file in _files(path) if _is_image(file.name)] if path.is_dir() else [path]
        if not inside:
            raise InvalidRequest(f"the folder {path} has no image")
        if not path.exists():
            raise InvalidRequest(f"there is no file {path}")
        found += inside
    return found


def _in_folder(root: Path) -> "tuple[list[tuple[str, ImageSource]], list[str]]":
    from service.client.uploads import image_source  # noqa: PLC0415  # httpx is slow to import

    images, others = [], []
    for file in _files(root):
        if _is_image(file.name) and file.parent != root:
            images.append((_label(file.parent.name), image_source(file)))
        else:
            others.append(str(file.relative_to(root)))
    return images, others


def _in_zip(source: Path) -> "tuple[list[tuple[str, ImageSource]], list[str]]":
    archive = zipfile.ZipFile(source)  # stays open while its members are sent
    members = [item for item in archive.infolist() if not item.is_dir() and _is_seen(PurePosixPath(item.filename))]
    encrypted = [item.filename for item in members if item.flag_bits & 1]
    if encrypted:
        raise InvalidRequest(f"{source} is encrypted: {encrypted[0]}")
    if any(PurePosixPath(item.filename).name == _MANIFEST for item in members):
        raise InvalidRequest(
            f"{source} was saved with groups, classes left out or labels that no folder can have ({_MANIFEST}), which "
            f"only the page and the API read: drop it on the page, or curl -F archive=@{source} .../v1/tasks"
        )
    images, others = [], []
    for item in members:
        label = _label(PurePosixPath(item.filename).parent.name)
        if _is_image(item.filename) and label:
            images.append((label, _member(archive, item)))
        else:
            others.append(item.filename)
    return images, others


def _member(archive: zipfile.ZipFile, item: zipfile.ZipInfo) -> "ImageSource":
    from service.client.uploads import ImageSource  # noqa: PLC0415

    return ImageSource(PurePosixPath(item.filename).name, item.file_size, lambda: cast("BinaryIO", archive.open(item)))


def _files(root: Path) -> Iterator[Path]:
    return (file for file in sorted(root.rglob("*")) if file.is_file() and _is_seen(file.relative_to(root)))


def _is_seen(path: PurePosixPath | Path) -> bool:
    """Whether no part of the path is hidden or a leftover of macOS."""
    return not any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def _is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in EXTENSIONS


def _label(folder: str) -> str:
    return unicodedata.normalize("NFC", folder.strip())
