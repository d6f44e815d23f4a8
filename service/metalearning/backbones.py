"""The ConvNets that turn images into features, by the names that checkpoints and recipes use.

A backbone is a module that maps images to one feature vector each and tells its length as `n_features`. It may
also tell, for the learners:

- `statistics`: `running` or `support` (see `normalisation.Source`). Its forward pass then takes a second argument,
  a `BatchStatistics` or None. A backbone without it is constant: its features depend on the image alone.
- `packaged_state`: state-dict names whose tensors come with a package and are not saved in a checkpoint.
"""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from service.errors import CheckpointError
from service.metalearning.convolution import convolve
from service.metalearning.episodes import Images
from service.metalearning.header import TORCHVISION, BackboneSpec, Setting
from service.metalearning.normalisation import BatchStatistics, Maps, Normalisation, Source

Pool = Literal["stride", "max"]
Features = Float[Tensor, "n n_features"]


class ConvBlock(nn.Module):
    """A 3x3 convolution, normalisation, ReLU; the side is halved by the stride or by max-pooling.

    The convolution has no bias: normalisation by a batch would take it out again.
    """

    def __init__(self, channels: int, filters: int, pool: Pool) -> None:
        super().__init__()
        self.pool = pool
        self.conv = nn.Conv2d(channels, filters, kernel_size=3, padding=1, bias=False)
        self.normalisation = Normalisation(filters)

    def forward(self, maps: Maps, batch: BatchStatistics | None = None) -> Float[Tensor, "n filters height2 width2"]:
        """The maps of the next block."""
        stride = 2 if self.pool == "stride" else 1
        if batch is None:
            # Statistics that are known before the pass fold into the kernel: one pass over memory less.
            scale, shift = self.normalisation.affine(self.normalisation.mean, self.normalisation.variance)
            kernel = self.conv.weight * scale[:, None, None, None]
            maps = convolve(maps, kernel, shift, stride=stride)
        else:
            maps = self.normalisation(F.conv2d(maps, self.conv.weight, stride=stride, padding=1), batch)
        active = F.relu(maps)
        return active if self.pool == "stride" else F.max_pool2d(active, 2)


class ConvBackbone(nn.Module):
    """A stack of equal blocks: Conv-4 of Vinyals et al. 2016 (arXiv:1606.04080, section 4.1) at depth 4.

    pool="max" is the published net; pool="stride" has strided convolutions instead, as Finn et al. 2017
    (arXiv:1703.03400, section 5.2) use on Omniglot: about five times faster on a CPU, and as accurate there.
    We differ in the convolutions' missing bias and in where the normalisation's statistics come from.

    With `mirrored`, features are the mean of those of the image and of its mirror image, at twice the time: for
    photographs, not for writing. Where a batch gives the statistics, as in meta-training, the image stands alone, for
    augmentation mirrors it there.
    """

    def __init__(  # noqa: PLR0913  # what the published nets differ in
        self,
        channels: int = 1,
        filters: int = 64,
        *,
        side_px: int = 28,
        pool: Pool = "stride",
        statistics: Source = "running",
        depth: int = 4,
        mirrored: bool = False,
    ) -> None:
        super().__init__()
        if pool not in get_args(Pool) or statistics not in get_args(Source):
            raise ValueError(f"pool is {pool!r} of {get_args(Pool)}, statistics {statistics!r} of {get_args(Source)}")
        self.statistics = statistics
        self.mirrored = mirrored
        widths = [channels] + [filters] * depth
        self.blocks = nn.ModuleList(ConvBlock(a, b, pool) for a, b in pairwise(widths))
        self.n_features = filters * _halved(side_px, depth, pool) ** 2
        if self.n_features == 0:
            raise CheckpointError(f"images of {side_px} px are too small for {depth} blocks; need {2**depth} px")
        # Seen on 2 cores: a training step of 360 images takes 140 ms instead of 178 ms.
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Images, batch: BatchStatistics | None = None) -> Features:
        """Flattened maps of the last block."""
        features = self._features(images, batch)
        if self.mirrored and batch is None:
            features = (features + self._features(images.flip(-1), None)) / 2
        return features

    def _features(self, images: Images, batch: BatchStatistics | None) -> Features:
        maps = images
        for block in self.blocks:
            maps = block(maps, batch)
        return maps.flatten(1)


def build_backbone(spec: BackboneSpec, *, beside: Path | None = None) -> nn.Module:
    """The backbone that a header or a recipe names, freshly initialised.

    Args:
        spec: its name and arguments.
        beside: the checkpoint's folder, where published weights are looked for first.

    Raises:
        CheckpointError: the name or an argument is unknown, an argument cannot be right, or weights are missing.
    """
    build = BACKBONES.get(spec.name)
    if spec.name.startswith(TORCHVISION):
        build = partial(torchvision, spec.name.removeprefix(TORCHVISION), beside=beside)
    if build is None:
        known = ", ".join([*BACKBONES, f"{TORCHVISION}NAME"])
        raise CheckpointError(f"backbone {spec.name!r} is unknown; known are {known}")
    try:
        return build(**spec.arguments)
    except (TypeError, ValueError, RuntimeError) as error:  # the last is torch's, for a size
        raise CheckpointError(f"backbone {spec.name!r} cannot be built: {error}") from error


def efficientnet_lite(**arguments: Setting) -> nn.Module:
    """One frozen EfficientNet-Lite; its module is loaded on first use."""
    backbone: nn.Module = import_module("service.metalearning.efficientnet").EfficientNetLite(**arguments)
    return backbone


def efficientnet_ensemble(**arguments: Setting) -> nn.Module:
    """Several of them as one, loaded on first use too."""
    backbone: nn.Module = import_module("service.metalearning.efficientnet").efficientnet_ensemble(**arguments)
    return backbone


def torchvision(model: str, *, beside: Path | None, **arguments: Setting) -> nn.Module:
    """One of torchvision's networks, frozen; loaded on first use too, because torchvision is slow to import."""
    build = import_module("service.metalearning.torchvision_backbone").torchvision_backbone
    backbone: nn.Module = build(model, beside=beside, **arguments)
    return backbone


def _halved(side_px: int, depth: int, pool: Pool) -> int:
    for _ in range(depth):
        side_px = (side_px + 1) // 2 if pool == "stride" else side_px // 2
    return side_px


BACKBONES: dict[str, Callable[..., nn.Module]] = {
    "conv4": ConvBackbone,
    "tiny": partial(ConvBackbone, filters=4, side_px=8, depth=2),  # for tests
    "efficientnet-lite": efficientnet_lite,
    "efficientnet-ensemble": efficientnet_ensemble,
}
