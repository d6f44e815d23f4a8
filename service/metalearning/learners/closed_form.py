"""Learners whose head is a formula of the features: prototypes and ridge regression."""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from service.metalearning.learners.base import (
    Network,
    Targets,
    TaskParameters,
)
from service.metalearning.learners.head_learner import Features, HeadLearner
from service.metalearning.learners.options import Choice, Number, Option

_PART_OF_OWN_SHARE = 0.75
"""What ridge takes of it. The whole puts the border where both classes have the same loss if their scores differ alike;
those of the class of many images, mostly of more kinds, differ more. Balanced accuracy with all and with this part of
it, of `photo` on validation classes: 3 images against 20 of one kind 94.0 and 94.2 % on Tiny-ImageNet, 91.4 and 93.3
where the queries are taken elsewhere; against 60 of three kinds 88.9 and 92.5; 1 against 20 of two 77.6 and 90.4; 8
against 180 of nine 94.5 and 94.3; CIFAR-FS, 3 against 60 of four kinds 86.8 and 90.1, 8 against 140 of nine 93.2 and
93.4; Omniglot, 2 against 40 of four 85.0 and 89.1. Prototypes find both classes equally often with the whole."""


class ProtoNet(HeadLearner):
    """Nearest class mean in feature space (Snell et al. 2017, arXiv:1703.05175).

    The squared distance to a prototype c is affine in the features up to a term that all classes share (section
    2.4), so the prototypes are kept as a head: weight 2c, bias -|c|^2, both times `scale`.

    Differences: the logits have a learned `scale`, 1 at the start as in the paper (after Oreshkin et al. 2018,
    arXiv:1805.10123, section 3.1), and in training each class of the query set weighs the same.
    """

    options: ClassVar[Mapping[str, Option]] = {"scale": Number(1e-4, 1e4)}

    def __init__(self, network: Network, *, scale: float = 1.0) -> None:
        super().__init__(network, {"scale": scale})
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    @property
    def scale(self) -> float:
        """Factor of the logits."""
        return self.log_scale.detach().exp().item()

    def _head(self, features: Features, targets: Targets) -> TaskParameters:
        """The class means."""
        return prototype_head(features, targets.to(features.dtype), scale=self.log_scale.exp())


class Ridge(HeadLearner):
    """Ridge regression from features to classes, solved exactly (R2-D2: Bertinetto et al. 2019, arXiv:1805.08136).

    Minimises sum_i w_i |W f_i - y_i|^2 + penalty |W|^2 for one-hot y; the logits are scale * W f. Penalty and scale
    are learned (section 3.2) as logarithms, so that they stay positive. The system is solved in the smaller of
    n_support (the Woodbury identity, eq. 6) and n_features, by Cholesky in double precision: the penalty makes it
    positive definite, duplicate images included.

    Differences: the weights w_i give each class the same share: w_i = m / count of i's class. With loss="sum" m is the
    harmonic mean of the counts: a balanced support set has weights of one, so the penalty means what it means in
    the paper; in an unbalanced one it acts as if every class had m images. With loss="mean" m is one: each class
    counts its mean error, and one `scale` fits any number of images (seen on frozen photograph features, 5-way: for
    1, 5 and 20 images a class the best is 19 each time; with "sum" and penalty 5 it is 45, 27 and 16).

    The paper's additive constant of the logits is left out: softmax does not see it. Instead there may be a feature
    that is constant, with the square `intercept`, whose weights are the bias. Without it a class of many kinds loses
    to a narrow one (seen, penalty 0.25: 8 images against 8 of nineteen kinds, balanced accuracy 78 %, with intercept
    2 91 %). With a bias, each class gets most of its `own_share` back: W is the sum of w_i (y_i - W f_i) f_i / penalty.
    """

    options: ClassVar[Mapping[str, Option]] = {
        "penalty": Number(1e-6, 1e6),
        "scale": Number(1e-4, 1e4),
        "intercept": Number(0.0, 1e4),
        "loss": Choice(("sum", "mean")),
    }

    def __init__(
        self,
        network: Network,
        *,
        penalty: float = 1.0,
        scale: float = 10.0,
        intercept: float = 0.0,
        loss: str = "sum",
    ) -> None:
        super().__init__(network, {"penalty": penalty, "scale": scale, "intercept": intercept, "loss": loss})
        self.log_penalty = nn.Parameter(torch.tensor(math.log(penalty)))
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.intercept = intercept
        self.loss = loss

    @property
    def penalty(self) -> float:
        """Weight of |W|^2 against the errors."""
        return self.log_penalty.detach().exp().item()

    @property
    def scale(self) -> float:
        """Factor of the logits."""
        return self.log_scale.detach().exp().item()

    def _head(self, features: Features, targets: Targets) -> TaskParameters:
        """The regression; without `intercept`, the bias is zero."""
        # The targets are 1 / (n_way * count) where they are not 0.
        weights = targets.shape[1] * targets.sum(1)  # 1 / count
        if self.loss == "sum":
            weights = weights / targets.amax(0).sum()
        constant = features.new_full((len(features), 1), math.sqrt(self.intercept), dtype=torch.float64)
        inputs = torch.cat([features.double(), constant], dim=1)
        roots = weights.sqrt()[:, None]
        penalty = self.log_penalty.exp().double()
        weight = ridge_weight(roots * inputs, roots * (targets > 0), penalty)
        bias = math.sqrt(self.intercept) * weight[:, -1]
        if self.intercept:
            residuals = weights[:, None] * ((targets > 0).double() - inputs @ weight.T)
            bias = bias + _PART_OF_OWN_SHARE * own_share(residuals / penalty, features.double(), targets)
        scale = self.log_scale.exp()
        return {
            "head.weight": (scale * weight[:, :-1]).to(features.dtype),
            "head.bias": (scale * bias).to(features.dtype),
        }


def prototype_head(
    features: Features, targets: Float[Tensor, "n n_way"], *, scale: Tensor | float
) -> dict[str, Tensor]:
    """The class means c as a head: weight 2c, bias -|c|^2 corrected by `own_share`, both times `scale`.

    The mean of n features is longer than the mean that it estimates, E|c|^2 = |mean|^2 + variance / n, so that the
    prototype of a small class seems too far away. Classes of one size are left as they are.
    """
    shares = targets.shape[1] * targets  # of an image in its prototype
    prototypes = shares.T @ features  # (n_way, n_features)
    bias = own_share(2 * shares, features, targets) - prototypes.square().sum(-1)
    return {"head.weight": 2 * scale * prototypes, "head.bias": scale * bias}


def ridge_weight(
    inputs: Float[Tensor, "n n_features"], targets: Float[Tensor, "n n_way"], penalty: Float[Tensor, ""]
) -> Float[Tensor, "n_way n_features"]:
    """The W that minimises |inputs W^T - targets|^2 + penalty |W|^2."""
    n_support, n_features = inputs.shape
    if n_support < n_features:
        gram = inputs @ inputs.T + penalty * torch.eye(n_support).to(inputs)
        return torch.cholesky_solve(targets, torch.linalg.cholesky(gram)).T @ inputs
    gram = inputs.T @ inputs + penalty * torch.eye(n_features).to(inputs)
    return torch.cholesky_solve(inputs.T @ targets, torch.linalg.cholesky(gram)).T


def own_share(
    coefficients: Float[Tensor, "n n_way"], features: Features, targets: Float[Tensor, "n n_way"]
) -> Float[Tensor, " n_way"]:
    """What the bias of each class lacks because its own images made the head; 0 for the class that lacks least.

    A head is a sum over support images, W = coefficients^T features. In its own scores an image meets itself, |f_i|^2,
    where a fresh one of its class meets others, f_i f_j: in expectation that is the variance v within a class less
    (the trace of the covariance). So a fresh image of class k leads j by (a_kk - a_kj) v less than the support says,
    where a_kj is the mean coefficient in row j of the images of k. Small classes have large coefficients and lose
    most. Half of it, averaged over j, added to the bias, leaves both sides of a border with the same loss.

    Of prototypes, a_kk = 2 / n_k, it is v / n_k. The variance is pooled over classes; where each has one image there
    is none to see. Between classes of one size a difference would be noise (seen for ANIL, 5 classes of 5: it costs
    0.1 points), so they share their mean. An image that is sent twice counts as two.

    Seen on photographs in 5 classes of 1, 2, 4, 8 and 16 images, balanced accuracy without and with it: prototypes
    80.2 and 85.7 %, ridge 84.5 and 85.5, ANIL 79.8 and 86.5; 8 images against 500 of 25 kinds: 76.9 and 81.9, 78.3
    and 83.1, 73.3 and 82.6.
    """
    n_way = targets.shape[1]
    members = (targets > 0).to(features.dtype)
    counts = members.sum(0)
    means = members.T @ features / counts[:, None]
    variance = (features - members @ means).square().sum() / max(1, len(features) - n_way)
    of_class = members.T @ coefficients / counts[:, None]  # (n_way, n_way): a_kj
    own = of_class.diagonal()
    others = (of_class.sum(1) - own) / max(1, n_way - 1)
    is_alike = (counts[:, None] == counts).to(features.dtype)
    share = variance / 2 * (is_alike @ (own - others)) / is_alike.sum(1)
    return share - share.min()
