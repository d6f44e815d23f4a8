"""What a base model's checkpoint says about itself: the header, readable without torch.

A checkpoint is one safetensors file. Its metadata entry `handful` is the header as JSON: how to rebuild the
network, what input it takes, which learners it offers, what it was trained on and how well it does.

Why a file of its own: the API process answers questions about base models and decodes images to their
input format, and must not load torch for that.
"""

import dataclasses
import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from service.errors import CheckpointError
from service.metalearning.calibration import Calibration, calibration_from_json

METADATA_KEY = "handful"
BACKBONE_LICENCES: Mapping[str, str] = {
    "conv4": "MIT",
    "tiny": "MIT",
    "efficientnet-ensemble": "Apache-2.0 (backbones: EfficientNet-Lite, The TensorFlow Authors); MIT (the rest)",
    "efficientnet-lite": "Apache-2.0 (backbone: EfficientNet-Lite, The TensorFlow Authors); MIT (the rest)",
}
"""What a file with a backbone's weights in it may be used under."""

TORCHVISION = "torchvision:"
"""What stands before the name of a network of torchvision in the name of its backbone."""

FORMAT_VERSION = 1
_MAX_HEADER_BYTES = 16 * 2**20

Fit: TypeAlias = Literal["pad", "stretch"]
Resampling: TypeAlias = Literal["box", "bilinear", "hamming", "bicubic", "lanczos"]
Setting: TypeAlias = float | int | str | bool


@dataclass(frozen=True, slots=True)
class InputFormat:
    """The array a network takes: uint8, (channels, side_px, side_px).

    Attributes:
        side_px: height and width.
        channels: 1 for luminance, 3 for RGB.
        fit: what happens to an image that is not square: `pad` adds white (the whole image, undistorted),
            `stretch` scales each side (the whole image, distorted).
        resampling: the filter of the scaling, by its Pillow name.
        ink: whether the picture is made a drawing first, dark on white, whatever its ground and its light.
    """

    side_px: int
    channels: int
    fit: Fit = "pad"
    resampling: Resampling = "bilinear"
    ink: bool = False


@dataclass(frozen=True, slots=True)
class PixelScaling:
    """How uint8 pixels become the network's floats: (pixel / 255 - mean) / std, of 1 - pixel / 255 if `invert`."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    invert: bool = False


@dataclass(frozen=True, slots=True)
class BackboneSpec:
    """The name of a backbone, in `backbones.BACKBONES` or `torchvision:NAME`, and the arguments that rebuild it."""

    name: str
    arguments: Mapping[str, Setting] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LearnerOffer:
    """A learner that the base model offers.

    Attributes:
        adapts: `head`: the task parameters are a head only, and features can be kept; `network`: all tensors.
        settings: keyword arguments of the learner's class: steps, lr, start, penalty, scale...
    """

    adapts: Literal["head", "network"]
    settings: Mapping[str, Setting] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured accuracy: percent, and the half width of its 95 % interval in points."""

    dataset: str
    learner: str
    n_way: int
    n_shot: int
    accuracy: float
    interval_95: float
    episodes: int
    inductive: bool = True


@dataclass(frozen=True, slots=True)
class BaseModelHeader:
    """Everything a base model says about itself.

    Attributes:
        id: the stable name clients use: `omniglot-conv4`.
        purpose: one sentence for the client who chooses.
        suits: which images it is chosen for when a task names no base model.
        n_features: length of the backbone's feature vector.
        learners: the offers by learner name; the first is the default.
        calibration: the constants of trustworthy answers by learner; empty in files of older releases.
        provenance: what it was trained on, with which settings, from which commit; for people.
    """

    id: str
    purpose: str
    suits: Literal["drawings", "photographs"]
    backbone: BackboneSpec
    n_features: int
    input: InputFormat
    scaling: PixelScaling
    learners: Mapping[str, LearnerOffer]
    calibration: Mapping[str, Calibration] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    figures: tuple[Figure, ...] = ()
    format_version: int = FORMAT_VERSION

    @property
    def default_learner(self) -> str:
        """The learner used when a task names none."""
        return next(iter(self.learners))


def header_to_json(header: BaseModelHeader) -> str:
    """The header as JSON text, for the metadata of a safetensors file."""
    return json.dumps(dataclasses.asdict(header), ensure_ascii=False)


def header_from_json(text: str) -> BaseModelHeader:
    """The header that `header_to_json` wrote.

    Raises:
        CheckpointError: something is missing, unknown, or of another format version.
    """
    try:
        raw = json.loads(text)
        if raw["format_version"] != FORMAT_VERSION:
            raise CheckpointError(
                f"header format {raw['format_version']} is not {FORMAT_VERSION}; use a matching release"
            )
        _drop_views(raw)
        return BaseModelHeader(**(raw | _nested(raw)))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"the header is incomplete or damaged: {error}") from error


def read_header(path: Path) -> BaseModelHeader:
    """The header of a checkpoint file; reads no tensor.

    Raises:
        CheckpointError: the file is not a Handful checkpoint.
    """
    try:
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            if size > _MAX_HEADER_BYTES:
                raise CheckpointError(f"{path.name} is not a safetensors file")
            metadata = json.loads(file.read(size)).get("__metadata__", {})
    except (OSError, struct.error, ValueError) as error:
        raise CheckpointError(f"{path.name} cannot be read as a safetensors file: {error}") from error
    if METADATA_KEY not in metadata:
        raise CheckpointError(f"{path.name} has no {METADATA_KEY!r} metadata: it is not a Handful base model")
    return header_from_json(metadata[METADATA_KEY])


def backbone_licence(spec: BackboneSpec) -> str:
    """What a file with this backbone's weights in it may be used under, as far as Handful knows."""
    return BACKBONE_LICENCES.get(spec.name, "see the base model's provenance")


def file_digest(path: Path) -> str:
    """SHA-256 of a file in hex: a base model's digest."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _drop_views(raw: dict[str, Any]) -> None:
    """Take out of a header what files of older releases say of the images that a head learner sees.

    Raises:
        CheckpointError: it sees more than the image itself.
    """
    views = raw.pop("views", ["identity"])
    if views != ["identity"]:
        raise CheckpointError(
            f"support images have the views {views}, expected ['identity']; make the base model again"
        )


def _nested(raw: Mapping[str, Any]) -> dict[str, Any]:
    scaling = raw["scaling"]
    return {
        "backbone": BackboneSpec(**raw["backbone"]),
        "input": InputFormat(**raw["input"]),
        "scaling": PixelScaling(tuple(scaling["mean"]), tuple(scaling["std"]), scaling["invert"]),
        "learners": {name: LearnerOffer(**offer) for name, offer in raw["learners"].items()},
        "calibration": {name: calibration_from_json(each) for name, each in raw.get("calibration", {}).items()},
        "figures": tuple(Figure(**figure) for figure in raw["figures"]),
    }
