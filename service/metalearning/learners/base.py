"""The contract of every learner, and the network it adapts.

Every learner answers `adapt(support)` with task parameters: the tensors, by state-dict name, that replace the
base model's for one task. That is the only form of a task model, so `predict` is one path for all of them and
nothing above this package names an algorithm.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from service.errors import CheckpointError, InvalidOption, InvalidSupportSet
from service.metalearning.episodes import Episode, Images, Labels, SupportSet
from service.metalearning.header import Setting
from service.metalearning.learners.options import Option, checked_settings
from service.metalearning.normalisation import BatchStatistics

TaskParameters = Mapping[str, Tensor]
Pause = Callable[[], None]
Precision = Literal["fp32", "bf16"]
CHUNK_IMAGES = 64
_SHORTEST_SQUARE = 1e-12
"""Added to the square of a length, so that features of zero keep a direction to differentiate."""

Logits = Float[Tensor, "n n_way"]
Targets = Float[Tensor, "n n_way"]


def no_pause() -> None:
    """Do nothing between the steps of an adaptation."""


class Head(nn.Linear):
    """Class logits: linear in the features, or in their direction where `unit_length` is 1.

    The second is a cosine head. Which of the two a head is belongs to it as its rows do, so it is a buffer that a
    task replaces beside them; the tasks of linear heads leave it alone.
    """

    unit_length: Tensor

    def __init__(self, n_features: int, n_way: int) -> None:
        super().__init__(n_features, n_way)
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)
        self.register_buffer("unit_length", torch.zeros(()))

    def forward(self, features: Float[Tensor, "n n_features"]) -> Logits:
        """The logits of these features."""
        return F.linear(_of_length(features, self.unit_length), self.weight, self.bias)


class Network(nn.Module):
    """A backbone and a linear head; the head of a task may have any number of rows.

    Its own head is zero and stays so: the head of a task comes with the task parameters.

    Attributes:
        precision: of the backbone's arithmetic. `bf16` is for training: weights, features, head and loss stay fp32.
    """

    def __init__(self, backbone: nn.Module, n_features: int, n_way: int = 1) -> None:
        super().__init__()
        self.backbone = backbone
        self.n_features = n_features
        self.head = Head(n_features, n_way)
        self.precision: Precision = "fp32"

    @property
    def statistics(self) -> Literal["running", "support", "constant"]:
        """Where the backbone's normalisation statistics come from; `constant` where it has none to collect."""
        source: Literal["running", "support", "constant"] = getattr(self.backbone, "statistics", "constant")
        return source

    def features(self, images: Images, batch: BatchStatistics | None = None) -> Float[Tensor, "n n_features"]:
        """Backbone output; normalised by the batch, whose moments are left in `batch`, if it is given."""
        # A cast that is cached would outlive the tensors that functional_call puts in for one task.
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.precision == "bf16", cache_enabled=False):
            features: Tensor = self.backbone(images) if batch is None else self.backbone(images, batch)
        return features.to(images.dtype)

    def forward(self, images: Images, batch: BatchStatistics | None = None) -> Logits:
        """Class logits of the features."""
        logits: Tensor = self.head(self.features(images, batch))
        return logits


class Learner(nn.Module, ABC):
    """How a meta-trained network becomes a task's own network.

    `adapt` and `predict` do not depend on train() or eval() and leave every entry of the state dict bit-equal.

    Attributes:
        adapts: `head`: the task parameters are a head alone, made from features that depend on the image only;
            `network`: they hold tensors of the backbone too.
        options: the settings that the learner takes, and their ranges.
    """

    adapts: Literal["head", "network"]
    options: ClassVar[Mapping[str, Option]] = {}

    def __init__(self, network: Network, settings: Mapping[str, Setting]) -> None:
        super().__init__()
        checked_settings(self.options, settings)
        self.network = network

    def settings(self) -> dict[str, Setting]:
        """The present value of every option: `LEARNERS[name](network, **learner.settings())` is its equal."""
        return {name: getattr(self, name) for name in self.options}

    def learned(self) -> dict[str, Tensor]:
        """What meta-training has learned beside the network that no setting can say, by name; most learn nothing.

        A checkpoint keeps it beside the network, as `learner.<its name in LEARNERS>.<name>`.
        """
        return {}

    def take_learned(self, tensors: TaskParameters) -> None:
        """Go on with what another of this class has `learned`; changes the learner.

        Raises:
            CheckpointError: the names or the shapes are not this learner's.
        """
        if tensors:
            raise CheckpointError(f"{type(self).__name__} learns nothing of its own, got {', '.join(tensors)}")

    @abstractmethod
    def adapt(self, support: SupportSet, *, pause: Pause = no_pause) -> TaskParameters:
        """Return the tensors that replace the network's own for this task; they need no gradient.

        Args:
            support: images and labels; classes may differ in size, and weigh the same.
            pause: called between steps and between chunks of at most CHUNK_IMAGES images.

        Raises:
            InvalidSupportSet: some class has no image.
            InvalidOption: the steps diverged.
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


def balanced_targets(labels: Labels, dtype: torch.dtype) -> Targets:
    """One-hot rows times the weight of the image: each class weighs the same, and all add up to one.

    Everything that a learner asks of labels follows from it: a balanced loss, class means, image weights.

    Raises:
        InvalidSupportSet: a label is negative, or some class below the highest label has no image.
    """
    if not len(labels) or int(labels.min()) < 0:
        raise InvalidSupportSet("a support set needs images, with labels from 0")
    counts = torch.bincount(labels)
    for index in (counts == 0).nonzero().flatten().tolist():
        raise InvalidSupportSet(f"class {index} of {len(counts)} has 0 images, need at least 1")
    one_hot = F.one_hot(labels, len(counts)).to(dtype)
    return one_hot / (counts * len(counts)).to(dtype)


def query_targets(labels: Labels, n_way: int, dtype: torch.dtype) -> Targets:
    """`balanced_targets` of a query set, in which some of the task's classes may have no image."""
    one_hot = F.one_hot(labels, n_way).to(dtype)
    counts = one_hot.sum(0)
    return one_hot / (counts.clamp(min=1) * (counts > 0).sum())


def balanced_loss(logits: Logits, targets: Targets) -> Float[Tensor, ""]:
    """Cross-entropy in which each class weighs the same; over chunks of the images it adds up."""
    return -(targets * logits.log_softmax(dim=-1)).sum()


def head_logits(task: TaskParameters, features: Float[Tensor, "n n_features"]) -> Logits:
    """The logits of a task whose features are known: what the network answers to their images."""
    if "head.unit_length" in task:
        features = _of_length(features, task["head.unit_length"])
    return F.linear(features, task["head.weight"], task["head.bias"])


def replaces_backbone(task: TaskParameters) -> bool:
    """Whether the task has tensors of its own besides the head."""
    return any(not name.startswith("head.") for name in task)


def with_prior(task: TaskParameters, prior: Sequence[float] | None) -> TaskParameters:
    """The task answering for classes that turn up this often; None leaves it balanced.

    Adds log(prior * n_way) to the head's bias: Bayes' rule on probabilities that were fitted with equal classes.

    Raises:
        InvalidOption: not one positive number a class, adding up to one.
    """
    if prior is None:
        return task
    bias = task["head.bias"]
    if len(prior) != len(bias) or not min(prior) > 0 or not math.isclose(sum(prior), 1, abs_tol=1e-3):
        raise InvalidOption(f"prior is {list(prior)}, expected {len(bias)} positive numbers that add up to 1")
    return {**task, "head.bias": bias + bias.new_tensor(prior).mul(len(prior)).log()}


def _of_length(
    features: Float[Tensor, "n n_features"], unit_length: Float[Tensor, ""]
) -> Float[Tensor, "n n_features"]:
    """The features if `unit_length` is 0, divided by their length if it is 1; without a branch, for vmap."""
    squares = features.square().sum(-1, keepdim=True) + _SHORTEST_SQUARE
    return features * squares.pow(-unit_length / 2)


def check_finite(tensors: Iterable[Tensor]) -> None:
    """Refuse what gradient steps have blown up.

    Raises:
        InvalidOption: some entry is infinite or not a number.
    """
    if not all(bool(tensor.isfinite().all()) for tensor in tensors):
        raise InvalidOption("the adaptation diverged: lower lr or steps")


def settled(task: TaskParameters) -> TaskParameters:
    """The task parameters as tensors of their own, without a graph and without the base model's storage.

    Raises:
        InvalidOption: they are not finite.
    """
    check_finite(task.values())
    return {name: p.detach().clone(memory_format=torch.contiguous_format) for name, p in task.items()}
