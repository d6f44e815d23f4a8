"""The projection that shortens what differs within classes, in closed form from classes of meta-training.

Images of one class differ in pose, light, ground and cut; in features these are a few hundred directions, largely the
same for classes that were never seen. Whitening by the covariance within classes, (S + floor)^(-1/2), makes the
distance to a class mean the one of Fisher's linear discriminant (1936), which is what a head from one image a class
cannot know by itself. The method is within-class covariance normalisation (Hatch, Kajarekar and Stolcke 2006, section
2, for speaker recognition).

Differences: S is the mean over domains (colour, grey, drawings...), each with trace one, so that a domain of large
spread does not rule; and only its largest directions are kept, the others counting as their mean, so that the result
is the identity less a map of low rank and its file stays small.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from service.errors import DatasetError

Features = Float[Tensor, "n n_features"]
Covariance = Float[Tensor, "n_features n_features"]


def covariance_within(features: Features, labels: Int[Tensor, " n"]) -> Covariance:
    """The covariance of the features around their class means, with trace one.

    Raises:
        DatasetError: no class has two images that differ.
    """
    counts = torch.bincount(labels)
    sums = torch.zeros(len(counts), features.shape[1]).index_add_(0, labels, features)
    residuals = features - (sums / counts.clamp(min=1)[:, None])[labels]
    scatter = residuals.T @ residuals
    trace = scatter.trace()
    if trace <= 0:
        raise DatasetError("no class has two images that differ, so what differs within classes cannot be learned")
    return scatter / trace


def whitening(
    covariances: Sequence[Covariance], *, floor: float, rank: int
) -> tuple[Float[Tensor, "n_features rank"], Float[Tensor, " rank"]]:
    """Directions, and by which share of itself a vector is shortened along each.

    Args:
        covariances: within classes, one for each domain.
        floor: added to every eigenvalue, in multiples of the mean eigenvalue.
        rank: the number of directions that are kept.
    """
    mean = torch.stack(list(covariances)).mean(0)
    n_features = len(mean)
    values, vectors = torch.linalg.eigh(mean)
    rest = values[: n_features - rank].mean() + floor / n_features
    kept = values[n_features - rank :].flip(0) + floor / n_features
    return vectors[:, n_features - rank :].flip(1), 1 - (rest / kept).sqrt()
