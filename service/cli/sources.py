"""Images on the disk: a folder of class folders, or a zip of one, with what its manifest says beside that."""

import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, cast

from service.errors import InvalidRequest, InvalidSupportSet

if TYPE_CHECKING:
    from service.api.manifests import Manifest
    from service.client import ImageSource

EXTENSIONS = frozenset(
    ".jpg .jpeg .jpe .jfif .png .webp .avif .bmp .gif .tif .tiff .heic .heif".split()  # noqa: SIM905  # readable
)
"""What counts as an image in a folder; a file that is named on the command line is sent whatever its name."""


_MANIFEST = "handful.json"


@dataclass(frozen=True, slots=True)
class FoundImage:
    """An image with its class.

    Attributes:
        group: what it belongs to: a burst, a slide, a part; None if it stands for itself.
        is_left_out: whether adaptations leave its class out, if the class comes with it.
    """

    label: str
    source: "ImageSource"
    group: str | None = None
    is_left_out: bool = False

    @property
    def path(self) -> str:
        """What the user calls it."""
        return f"{self.label}/{self.source.name}"


def labelled_images(source: Path) -> tuple[list[FoundImage], list[str]]:
    """Every image by path, its label that of its own folder or of the manifest; and the names of the other files.

    Raises:
        InvalidRequest: the source is no folder and no zip, or cannot be read.
        RejectedFields: its manifest is none.
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


def _in_folder(root: Path) -> tuple[list[FoundImage], list[str]]:
    from service.client.uploads import image_source  # noqa: PLC0415  # httpx is slow to import

    images, others = [], []
    for file in _files(root):
        if _is_image(file.name) and file.parent != root:
            images.append(FoundImage(_label(file.parent.name), image_source(file)))
        else:
            others.append(str(file.relative_to(root)))
    return images, others


def _in_zip(source: Path) -> tuple[list[FoundImage], list[str]]:
    archive = zipfile.ZipFile(source)  # stays open while its members are sent
    members = [item for item in archive.infolist() if not item.is_dir() and _is_seen(PurePosixPath(item.filename))]
    encrypted = [item.filename for item in members if item.flag_bits & 1]
    if encrypted:
        raise InvalidRequest(f"{source} is encrypted: {encrypted[0]}")
    manifests = [item for item in members if PurePosixPath(item.filename).name == _MANIFEST]
    about = _manifest(archive, manifests) if manifests else _by_folder
    images, others = [], []
    for item in members:
        found = about(PurePosixPath(item.filename), _member(archive, item))
        if _is_image(item.filename) and found.label:
            images.append(found)
        elif item not in manifests:
            others.append(item.filename)
    return images, others


def _by_folder(path: PurePosixPath, source: "ImageSource") -> FoundImage:
    return FoundImage(_label(path.parent.name), source)


def _manifest(
    archive: zipfile.ZipFile, found: Sequence[zipfile.ZipInfo]
) -> Callable[[PurePosixPath, "ImageSource"], FoundImage]:
    """What tells of an image at a path what the zip says of it, as the service reads the zip."""
    if len(found) > 1:
        raise InvalidRequest(f"{archive.filename} has {len(found)} files {_MANIFEST}; leave one of them")
    manifest, base = _read_manifest(archive, found[0]), str(PurePosixPath(found[0].filename).parent)

    def about(path: PurePosixPath, source: "ImageSource") -> FoundImage:
        folder = str(path.parent).removeprefix(f"{base}/")
        label = _label(manifest.labels.get(folder, path.parent.name))
        return FoundImage(label, source, manifest.groups.get(f"{folder}/{path.name}"), folder in manifest.left_out)

    return about


def _read_manifest(archive: zipfile.ZipFile, found: zipfile.ZipInfo) -> "Manifest":
    from service.api.manifests import MAX_MANIFEST_BYTES, read_manifest  # noqa: PLC0415  # pydantic is slow to import

    if found.file_size > MAX_MANIFEST_BYTES:
        raise InvalidRequest(f"{_MANIFEST} in {archive.filename} has more than {MAX_MANIFEST_BYTES} bytes")
    try:
        return read_manifest(archive.read(found))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise InvalidRequest(f"{_MANIFEST} in {archive.filename} cannot be unpacked") from error


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
