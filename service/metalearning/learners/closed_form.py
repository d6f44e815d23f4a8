"""Learners that leave the backbone as it is and make a head from features, in closed form."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from service.metalearning.episodes import Episode, Images, Labels, SupportSet
from service.metalearning.header import Setting
from service.metalearning.learners.base import (
    CHUNK_IMAGES,
    Learner,
    Network,
    Pause,
    TaskParameters,
    balanced_loss,
    balanced_targets,
    no_pause,
    query_targets,
    settled,
)
from service.metalearning.learners.options import Choice, Number, Option
from service.metalearning.normalisation import BatchStatistics, move_buffers, named_statistics

Features = Float[Tensor, "n n_features"]


class HeadLearner(Learner, ABC):
    """A learner whose whole adaptation is a function of the support features.

    On a backbone with statistics="support" the features depend on the support set too: the task parameters then
    hold its statistics besides the head, and `adapts` is "network".
    """

    moves_buffers: ClassVar[bool] = True
    """Whether `backward` trains by batch statistics where the backbone keeps running ones."""

    def __init__(self, network: Network, settings: Mapping[str, Setting]) -> None:
        super().__init__(network, settings)
        self.adapts = "network" if network.statistics == "support" else "head"

    @abstractmethod
    def head(self, features: Features, labels: Labels) -> TaskParameters:
        """The head, `head.weight` and `head.bias`, that separates these features; differentiable.

        Args:
            features: backbone output.
            labels: 0..n_way-1, each present, in any order.

        Raises:
            InvalidSupportSet: some class has no image.
            InvalidOption: the steps diverged.
        """

    def adapt(self, support: SupportSet, *, pause: Pause = no_pause) -> TaskParameters:
        """Compute the features in chunks, then the head."""
        with torch.no_grad():
            if self.network.statistics == "support":
                features, statistics = self._support_features(support)
            else:
                features, statistics = chunked_features(self.network, support.images, pause=pause), {}
            return settled({**self.head(features, support.labels), **statistics})

    def backward(self, episodes: Sequence[Episode]) -> Tensor:
        """Differentiate the query loss through the head, episode by episode."""
        losses = []
        for episode in episodes:
            loss = self._query_loss(episode) / len(episodes)
            torch.autograd.backward(loss)
            losses.append(loss.detach())
        return torch.stack(losses).sum()

    def _query_loss(self, episode: Episode) -> Tensor:
        support, query = self._episode_features(episode)
        head = self.head(support, episode.support.labels)
        logits = F.linear(query, head["head.weight"], head["head.bias"])
        return balanced_loss(logits, query_targets(episode.query.labels, logits.shape[1], logits.dtype))

    def _episode_features(self, episode: Episode) -> tuple[Features, Float[Tensor, "n_query n_features"]]:
        """Support and query features; moves the buffers of a backbone that is trained by batch statistics."""
        if self.network.statistics == "support":
            support, statistics = self._support_features(episode.support)
            return support, _features(self.network, statistics, episode.query.images)
        joined = torch.cat([episode.support.images, episode.query.images])
        if self.network.statistics == "running" and self.moves_buffers:
            batch = BatchStatistics()
            features = self.network.backbone(joined, batch)
            move_buffers(batch)
        else:
            features = self.network.backbone(joined)
        n_support = len(episode.support.labels)
        return features[:n_support], features[n_support:]

    def _support_features(self, support: SupportSet) -> tuple[Features, dict[str, Tensor]]:
        weights = balanced_targets(support.labels, support.images.dtype).sum(1)
        batch = BatchStatistics(weights)
        features = self.network.backbone(support.images, batch)
        return features, named_statistics(self.network, batch)


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

    def head(self, features: Features, labels: Labels) -> TaskParameters:
        """The class means as a head."""
        return prototype_head(features, balanced_targets(labels, features.dtype), scale=self.log_scale.exp())


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
    2 91 %). With a bias, where classes differ in size, each gets its `_optimism` back (seen, with it and without:
    3 images against 100 of four kinds, 87 and 71 %; 3 against 20 of one kind, 93 and 82 %).
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

    def head(self, features: Features, labels: Labels) -> TaskParameters:
        """The regression as a head; without `intercept`, the bias is zero."""
        targets = balanced_targets(labels, torch.float64)  # (n, n_way), 1 / (n_way * count) where it is not 0
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
            class_weights = targets.shape[1] * (targets.T @ weights)  # (n_way,)
            bias = bias + class_weights / penalty * _optimism(features.double(), inputs @ weight.T, targets)
        scale = self.log_scale.exp()
        return {
            "head.weight": (scale * weight[:, :-1]).to(features.dtype),
            "head.bias": (scale * bias).to(features.dtype),
        }


def prototype_head(
    features: Features, targets: Float[Tensor, "n n_way"], *, scale: Tensor | float
) -> dict[str, Tensor]:
    """The class means c as a head: weight 2c, bias -|c|^2, both times `scale`."""
    prototypes = targets.shape[1] * (targets.T @ features)  # (n_way, n_features)
    return {"head.weight": 2 * scale * prototypes, "head.bias": -scale * prototypes.square().sum(-1)}


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


def _optimism(
    features: Float[Tensor, "n n_features"], fitted: Float[Tensor, "n n_way"], targets: Float[Tensor, "n n_way"]
) -> Float[Tensor, " n_way"]:
    """How much higher a class scores on its own support images than on fresh ones, but for the factor w / penalty.

    The solution is a sum over images, W = sum_i w_i (y_i - W f_i) f_i^T / penalty, in which each image meets itself
    where a fresh one meets a mean of its class: |f_i|^2 against f_i f_j. The difference is the variance within the
    class, and its share in the mean score is 1 / count, so a small class is flattered more than a large one.

    A variance is the class's own, with the mean one of all classes as one observation more. Counted by the
    difference in size, 1 - smallest / largest: between classes of one size it is noise.
    """
    members = (targets > 0).to(fitted.dtype)
    counts = members.sum(0)
    if counts.min() == counts.max():
        return torch.zeros_like(counts)
    means = members.T @ features / counts[:, None]
    squares = members.T @ (features - members @ means).square().sum(1)  # (n_way,)
    typical = (squares / (counts - 1).clamp(min=1))[counts > 1].mean()
    variance = (squares + typical) / counts
    residual = (members * (1 - fitted)).sum(0) / counts
    optimism: Tensor = (1 - counts.min() / counts.max()) * residual * variance
    return optimism


def chunked_features(network: Network, images: Images, *, pause: Pause = no_pause) -> Features:
    """Backbone features, CHUNK_IMAGES at a time; `pause` is called between chunks."""
    chunks: list[Tensor] = []
    for images_of_chunk in torch.split(images, CHUNK_IMAGES):
        if chunks:
            pause()
        chunks.append(network.backbone(images_of_chunk))
    return torch.cat(chunks)


def _features(network: Network, statistics: TaskParameters, images: Images) -> Features:
    of_backbone = {name.removeprefix("backbone."): tensor for name, tensor in statistics.items()}
    features: Tensor = functional_call(network.backbone, of_backbone, (images,))
    return features
