"""What learners have in common that make a head from features: the backbone stays as it is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call

from service.metalearning.episodes import Episode, Images, Labels, SupportSet, of_one_shape, passes
from service.metalearning.header import Setting
from service.metalearning.learners.base import (
    CHUNK_IMAGES,
    Learner,
    Network,
    Pause,
    Targets,
    TaskParameters,
    balanced_loss,
    balanced_targets,
    check_finite,
    head_logits,
    no_pause,
    query_targets,
    settled,
)
from service.metalearning.normalisation import BatchStatistics, move_buffers, named_statistics

Features = Float[Tensor, "n n_features"]
QueryFeatures = Float[Tensor, "n_query n_features"]


class HeadLearner(Learner, ABC):
    """A learner whose whole adaptation is a function of the support features.

    On a backbone with statistics="support" the features depend on the support set too: the task parameters then
    hold its statistics besides the head, and `adapts` is "network".
    """

    moves_buffers: ClassVar[bool] = True
    """Whether `backward` trains by batch statistics where the backbone keeps running ones."""
    is_vectorised: ClassVar[bool] = True
    """Whether `torch.vmap` can make the heads of many tasks at once: no step depends on a value."""

    def __init__(self, network: Network, settings: Mapping[str, Setting]) -> None:
        super().__init__(network, settings)
        self.adapts = "network" if network.statistics == "support" else "head"

    def head(self, features: Features, labels: Labels) -> TaskParameters:
        """The head that separates these features, `head.weight`, `head.bias` and what else it has; differentiable.

        Args:
            features: backbone output.
            labels: 0..n_way-1, each present, in any order.

        Raises:
            InvalidSupportSet: some class has no image.
            InvalidOption: the steps diverged.
        """
        return self._head(features, balanced_targets(labels, torch.float64))

    @abstractmethod
    def _head(self, features: Features, targets: Targets) -> TaskParameters:
        """`head` for the labels' `balanced_targets`, in double precision."""

    def adapt(self, support: SupportSet, *, pause: Pause = no_pause) -> TaskParameters:
        """Compute the features in chunks, then the head."""
        with torch.no_grad():
            if self.network.statistics == "support":
                features, statistics = self._support_features(support)
            else:
                features, statistics = chunked_features(self.network, support.images, pause=pause), {}
            return settled({**self.head(features, support.labels), **statistics})

    def backward(self, episodes: Sequence[Episode]) -> Tensor:
        """Differentiate the query losses through the heads, for as many episodes at once as pay."""
        mean_loss = torch.zeros(())
        for group in of_one_shape(episodes):
            for some in passes(group, n_images=len(group[0].support.labels) + len(group[0].query.labels)):
                loss = self._query_losses(some).sum() / len(episodes)
                check_finite([loss])
                torch.autograd.backward(loss)
                mean_loss = mean_loss.to(loss) + loss.detach()
        return mean_loss

    def _query_losses(self, episodes: Sequence[Episode]) -> Float[Tensor, " n_tasks"]:
        support, query = self._episode_features(episodes)
        targets = torch.stack([balanced_targets(e.support.labels, torch.float64) for e in episodes])
        n_way = targets.shape[2]
        wanted = torch.stack([query_targets(e.query.labels, n_way, query.dtype) for e in episodes])
        if self.is_vectorised:
            losses: Tensor = torch.vmap(self._query_loss)(support, targets, query, wanted)
            return losses
        return torch.stack([self._query_loss(*one) for one in zip(support, targets, query, wanted, strict=True)])

    def _query_loss(
        self,
        support: Features,
        targets: Targets,
        query: QueryFeatures,
        wanted: Float[Tensor, "n_query n_way"],
    ) -> Float[Tensor, ""]:
        return balanced_loss(head_logits(self._head(support, targets), query), wanted)

    def _episode_features(
        self, episodes: Sequence[Episode]
    ) -> tuple[Float[Tensor, "n_tasks n n_features"], Float[Tensor, "n_tasks n_query n_features"]]:
        """Support and query features; moves the buffers of a backbone that is trained by batch statistics.

        Images whose features depend on nothing else pass the backbone together.
        """
        n_support = len(episodes[0].support.labels)
        joined = [torch.cat([e.support.images, e.query.images]) for e in episodes]
        if self.network.statistics == "support":
            found = [self._by_support_statistics(episode) for episode in episodes]
        elif self.network.statistics == "running" and self.moves_buffers:
            found = [self._by_own_statistics(images) for images in joined]
        else:
            found = list(torch.split(self.network.features(torch.cat(joined)), len(joined[0])))
        features = torch.stack(found)
        return features[:, :n_support], features[:, n_support:]

    def _by_support_statistics(self, episode: Episode) -> Features:
        support, statistics = self._support_features(episode.support)
        return torch.cat([support, _features(self.network, statistics, episode.query.images)])

    def _by_own_statistics(self, images: Images) -> Features:
        batch = BatchStatistics()
        features = self.network.features(images, batch)
        move_buffers(batch)
        return features

    def _support_features(self, support: SupportSet) -> tuple[Features, dict[str, Tensor]]:
        weights = balanced_targets(support.labels, support.images.dtype).sum(1)
        batch = BatchStatistics(weights)
        features = self.network.features(support.images, batch)
        return features, named_statistics(self.network, batch)


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
