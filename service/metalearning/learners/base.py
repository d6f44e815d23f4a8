"""The contract of every learner, and the network it adapts.

Every learner answers `adapt(support)` with task parameters: the tensors, by state-dict name, that replace the
base model's for one task. That is the only form of a task model, so `predict` is one path for all of them and
nothing above this package names an algorithm.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from service.metalearning.episodes import Episode, Images, SupportSet

TaskParameters = Mapping[str, Tensor]
Pause = Callable[[], None]
CHUNK_IMAGES = 64


def no_pause() -> None:
    """Do nothing between the steps of an adaptation."""


class Network(nn.Module):
    """A backbone and a linear head; the head of a task may have any number of rows."""

    def __init__(self, backbone: nn.Module, n_features: int, n_way: int = 1) -> None:
        super().__init__()
        self.backbone = backbone
        self.n_features = n_features
        self.head = nn.Linear(n_features, n_way)

    def forward(self, images: Images) -> Float[Tensor, "n n_way"]:
        """Class logits."""
        logits: Tensor = self.head(self.backbone(images))
        return logits


class Learner(nn.Module, ABC):
    """How a meta-trained network becomes a task's own network.

    `adapt` and `predict` do not depend on train() or eval() and leave every entry of the state dict bit-equal.
    """

    adapts: ClassVar[Literal["head", "network"]]

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    @abstractmethod
    def adapt(self, support: SupportSet, *, pause: Pause = no_pause) -> TaskParameters:
        """Return the tensors that replace the network's own for this task; they need no gradient.

        Args:
            support: images and labels; classes may differ in size, and weigh the same.
            pause: called between steps and between chunks of at most CHUNK_IMAGES images.
        """

    @abstractmethod
    def backward(self, episodes: Sequence[Episode]) -> Tensor:
        """Add the mean meta-gradient over the episodes to .grad; return their mean query loss, ().

        Args:
            episodes: of one shape, so that tasks can be vectorised.
        """

    def predict(self, task: TaskParameters, images: Images) -> Float[Tensor, "n n_way"]:
        """Class probabilities; each image is answered without regard to the others."""
        with torch.no_grad():
            logits: Tensor = functional_call(self.network, dict(task), (images,))
            return logits.softmax(dim=-1)
