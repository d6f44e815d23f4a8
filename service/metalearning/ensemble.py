"""One or several published networks as one backbone, with a projection that was learned on meta-training classes.

The members see one image at sides of their own. Their features, each centred and of one length, stand beside each
other, and the directions in which images of one class differ most are shortened (`whitening`): what is left of a
feature vector tells classes apart better. The length is one again in the end.

Why several small networks rather than a large one: they err differently, and together they cost what the time for a
prediction allows. What it gives is measured in `photo`.
"""

from collections.abc import Sequence
from math import sqrt

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from service.metalearning.episodes import Images
from service.metalearning.members import Member

Features = Float[Tensor, "n n_features"]
OfMember = Float[Tensor, "n _"]


class Ensemble(nn.Module):
    """Images to features of unit length.

    `directions` are orthonormal columns and `shortening` says by which share of itself a feature vector is
    shortened along each: none, until a checkpoint sets them.

    Args:
        networks: the members.
        sides_px: at what side each sees the image, in the same order; the largest is that of the images.
        rank: how many directions there are.
    """

    def __init__(self, networks: Sequence[Member], *, sides_px: Sequence[int], rank: int) -> None:
        super().__init__()
        self.networks = list(networks)
        self.members = nn.ModuleList(networks)
        self.n_features = sum(member.n_features for member in networks)
        self.packaged_state = frozenset(
            f"members.{index}.{name}" for index, member in enumerate(networks) for name in member.packaged_state
        )
        for index, side_px in enumerate(sides_px):
            self.register_buffer(f"shrinking_{index}", shrinking(max(sides_px), side_px), persistent=False)
        self.register_buffer("directions", torch.zeros(self.n_features, rank, dtype=torch.float16))
        self.register_buffer("shortening", torch.zeros(rank))
        self.directions: Tensor
        self.shortening: Tensor

    def forward(self, images: Images) -> Features:
        """Projected features of unit length."""
        return self.projected(self.joined(self.pooled(images)))

    def pooled(self, images: Images) -> list[OfMember]:
        """For each member the features that it pooled, neither centred nor of one length."""
        at_side = {images.shape[-1]: images}
        pooled = []
        for index, member in enumerate(self.networks):
            side_px = len(self.get_buffer(f"shrinking_{index}"))
            if side_px not in at_side:
                at_side[side_px] = self.shrunk(images, index)
            pooled.append(member.pooled(at_side[side_px]))
        return pooled

    def shrunk(self, images: Images, index: int) -> Float[Tensor, "n channels side_px side_px"]:
        """The images at the side at which a member sees them."""
        shrinking = self.get_buffer(f"shrinking_{index}")
        return images if len(shrinking) == images.shape[-1] else shrinking @ images @ shrinking.T

    def joined(self, pooled: Sequence[OfMember]) -> Features:
        """What `pooled` gave, centred, beside each other, each member with the same share of the length."""
        parts = [member.standardised(part) for member, part in zip(self.networks, pooled, strict=True)]
        return torch.cat(parts, dim=-1) / sqrt(len(parts))

    def projected(self, joined: Features) -> Features:
        """Shortened along `directions`, of unit length."""
        directions = self.directions.to(joined.dtype)
        return F.normalize(joined - (joined @ directions * self.shortening) @ directions.T, dim=-1)


def shrinking(from_px: int, to_px: int) -> Float[Tensor, "to_px from_px"]:
    """The matrix that makes a side smaller: bilinear, averaged over what falls on a pixel.

    A matrix, because torch's own scaling has no form in ONNX when it averages.
    """
    one = torch.eye(from_px)[None, None]
    return F.interpolate(one, size=(to_px, from_px), mode="bilinear", antialias=True)[0, 0]
