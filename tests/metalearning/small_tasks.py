"""Small real networks, support sets and episodes."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from service.metalearning.backbones import build_backbone
from service.metalearning.episodes import Episode, SupportSet
from service.metalearning.header import BackboneSpec
from service.metalearning.learners.base import Learner, Network, TaskParameters

SIDE_PX = 8


def make_network(*, statistics: str = "running", backbone: str = "tiny", dtype: torch.dtype = torch.float64) -> Network:
    """The same network each time; its normalisation buffers are not those it is born with."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        built = build_backbone(BackboneSpec(backbone, {"statistics": statistics}))
        network = Network(built, n_features(built)).to(dtype)
        for name, buffer in built.named_buffers():
            buffer.uniform_(0.5, 1.5) if name.endswith("variance") else buffer.normal_(std=0.2)
    return network


def n_features(backbone: nn.Module) -> int:
    """Length of the backbone's feature vector."""
    length: int = getattr(backbone, "n_features")  # noqa: B009 - nn.Module's attributes count as tensors
    return length


def make_support_set(
    generator: torch.Generator,
    *,
    counts: tuple[int, ...] = (2, 2, 2),
    side_px: int = SIDE_PX,
    dtype: torch.dtype = torch.float64,
) -> SupportSet:
    """Images that differ between classes more than within them; counts[c] images of class c, in mixed order."""
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    patterns = torch.randn(len(counts), 1, side_px, side_px, generator=generator)
    noise = torch.randn(len(labels), 1, side_px, side_px, generator=generator)
    return SupportSet((patterns[labels] + 0.5 * noise).to(dtype), labels)


def make_episode(generator: torch.Generator, *, counts: tuple[int, ...] = (2, 2, 2)) -> Episode:
    """Support and query set of the same classes and sizes."""
    both = make_support_set(generator, counts=tuple(2 * count for count in counts))
    order = both.labels.argsort(stable=True)
    images, labels = both.images[order], both.labels[order]
    return Episode(SupportSet(images[::2], labels[::2]), SupportSet(images[1::2], labels[1::2]))


def copied_class(support: SupportSet, index: int, *, copies: int) -> SupportSet:
    """The support set with each image of one class there 1 + copies times."""
    members = support.labels == index
    return SupportSet(
        torch.cat([support.images, support.images[members].repeat(copies, 1, 1, 1)]),
        torch.cat([support.labels, support.labels[members].repeat(copies)]),
    )


def mean_class_loss(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Negative log-likelihood, averaged within each class and then over classes."""
    losses = F.nll_loss(probabilities.log(), labels, reduction="none")
    return torch.stack([losses[labels == index].mean() for index in range(int(labels.max()) + 1)]).mean()


def backbone_of(task: TaskParameters) -> dict[str, Tensor]:
    """The task parameters that are not the head's."""
    return {name: tensor for name, tensor in task.items() if not name.startswith("head.")}


def random_direction(learner: Learner, generator: torch.Generator) -> dict[str, Tensor]:
    """A direction in everything that the learner trains."""
    return {
        name: torch.randn(p.shape, generator=generator, dtype=p.dtype)
        for name, p in learner.named_parameters()
        if "head." not in name
    }


def slope_by_gradient(learner: Learner, direction: dict[str, Tensor]) -> Tensor:
    """The derivative along the direction by what stands in .grad."""
    parts = [(p.grad * direction[n]).sum() for n, p in learner.named_parameters() if p.grad is not None]
    return torch.stack(parts).sum()


def slope_by_differences(learner: Learner, direction: dict[str, Tensor], loss: Callable[[], Tensor]) -> Tensor:
    """The derivative along the direction by a central difference of the loss."""
    step = 1e-6
    _shift(learner, direction, step)
    above = loss()
    _shift(learner, direction, -2 * step)
    below = loss()
    _shift(learner, direction, step)
    return (above - below) / (2 * step)


def _shift(learner: Learner, direction: dict[str, Tensor], step: float) -> None:
    parameters = dict(learner.named_parameters())
    with torch.no_grad():
        for name, along in direction.items():
            parameters[name].add_(along, alpha=step)
