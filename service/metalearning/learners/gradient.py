"""Learners that adapt by gradient steps on the support loss: MAML, FOMAML, ProtoMAML, Reptile, ANIL."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from service.metalearning.episodes import Episode, Labels, of_one_shape
from service.metalearning.learners.base import Network, Targets, TaskParameters, check_finite, head_logits
from service.metalearning.learners.closed_form import own_share
from service.metalearning.learners.head_learner import Features, HeadLearner
from service.metalearning.learners.inner_loop import (
    STEP_OPTIONS,
    Fast,
    GradientLearner,
    Gradients,
    Start,
    TaskImages,
    TaskTargets,
    UnrolledLearner,
    descent,
    last,
    stacked,
    summed,
)
from service.metalearning.learners.options import Choice, Number, Option


class MAML(UnrolledLearner):
    """Gradient steps from a meta-learned start (Finn et al. 2017, arXiv:1703.03400, algorithm 2).

    The meta-gradient goes through the steps; first_order=True is FOMAML (section 5.2): it takes the gradients of the
    inner loop as constants, so it is the gradient of the query loss at the start plus the loop's displacement.

    Differences: the head is not meta-learned but starts from zero or prototypes; the loss weighs classes, not images;
    the normalisation's statistics never come from the query batch.
    """

    def __init__(
        self,
        network: Network,
        *,
        steps: int = 5,
        lr: float = 0.1,
        start: Start = "zero",
        start_scale: float = 1.0,
        first_order: bool = False,
    ) -> None:
        settings = {"steps": steps, "lr": lr, "start": start, "start_scale": start_scale}
        super().__init__(network, settings, start=start)
        self.first_order = first_order

    def _is_second_order(self) -> bool:
        return not self.first_order


class ProtoMAML(UnrolledLearner):
    """MAML whose head starts from prototypes (Triantafillou et al. 2020, arXiv:1903.03096, section 3).

    The head of a class starts as that of a ProtoNet: weight 2c, bias -|c|^2 (section 3, "Proto-MAML"). The
    meta-gradient goes through the prototypes into the backbone, as there.

    Differences: those of MAML, but that the head is none; the start is multiplied by `start_scale`; the bias of
    classes of unequal size is corrected (see `prototype_head`); second order, where the paper reports the first
    (fo-Proto-MAML); all layers take steps of one size.
    """

    options: ClassVar[Mapping[str, Option]] = {name: STEP_OPTIONS[name] for name in ("steps", "lr", "start_scale")}

    def __init__(self, network: Network, *, steps: int = 5, lr: float = 0.01, start_scale: float = 1.0) -> None:
        super().__init__(network, {"steps": steps, "lr": lr, "start_scale": start_scale}, start="prototypes")


class Reptile(GradientLearner):
    """Move the start towards each task's solution (Nichol et al. 2018, arXiv:1803.02999, algorithm 2).

    The mean of (start - solution) is left in .grad, so that plain SGD with learning rate e interpolates by e, and
    Adam works too (section 2). The head starts anew for each task and is not moved. A task's solution is that of its
    support set; the query set only gives the loss that is told.

    The steps are plain gradient descent on the whole support set, or what the paper takes (section 6.1 and table 3):
    optimizer="adam", Adam without momentum (Kingma and Ba 2015, beta1 = 0, beta2 = 0.999), whose rates are far smaller,
    and in training minibatches of `batch` images, without which it lacks the part of the meta-gradient that makes tasks
    generalise (section 5.1).

    Differences: the head is not meta-learned; Adam's moments start anew for each task, where the published code carries
    them on; a minibatch takes of each class alike, and they come round in one order; adaptation is always by the whole
    support set, so that the order of its images does not matter; the loss weighs classes, not images.
    """

    options: ClassVar[Mapping[str, Option]] = {
        **STEP_OPTIONS,
        "optimizer": Choice(("sgd", "adam")),
        "batch": Number(0.0, 1000.0, whole=True),
    }

    def __init__(  # noqa: PLR0913  # a setting is an argument
        self,
        network: Network,
        *,
        steps: int = 5,
        lr: float = 0.1,
        start: Start = "zero",
        start_scale: float = 1.0,
        optimizer: str = "sgd",
        batch: int = 0,
    ) -> None:
        settings = {"steps": steps, "lr": lr, "start": start, "start_scale": start_scale}
        super().__init__(network, {**settings, "optimizer": optimizer, "batch": batch}, start=start)
        self.optimizer, self.batch = optimizer, batch

    def backward(self, episodes: Sequence[Episode]) -> Tensor:
        """Point .grad away from the solutions of the support sets."""
        mean_loss = torch.zeros(())
        for group in of_one_shape(episodes):
            support = stacked([e.support for e in group])
            query = stacked([e.query for e in group], group[0].support.n_way)
            with torch.no_grad():
                (solutions,) = self._solutions(*support, graph=False)
                loss = summed(self._query_loss, *query, solutions) / len(episodes)
                self._point_away(solutions, share=len(group) / len(episodes))
            mean_loss = mean_loss.to(loss) + loss
        return mean_loss

    def _known_steps(self) -> int:
        return int(self.optimizer == "sgd" and self.batch == 0) * super()._known_steps()

    def _directions(self, gradients: Gradients) -> Gradients:
        return gradients if self.optimizer == "sgd" else of_unit_size(gradients)

    def _batches(self, images: TaskImages, targets: TaskTargets) -> Iterator[tuple[Tensor, Tensor]]:
        return cycle(minibatches(images, targets, size=self.batch or images.shape[1]))

    def _point_away(self, solutions: Fast, *, share: float) -> None:
        """Add share * (start - mean solution) to .grad."""
        for name, start in self._adapted():
            away = share * (start - solutions[name].mean(0))
            start.grad = away if start.grad is None else start.grad + away


class ANIL(HeadLearner):
    """Gradient steps on the head alone (Raghu et al. 2020, arXiv:1909.09157, section 4), from zero or prototypes.

    The features do not change between the steps, so each step is written out: the gradient of the balanced
    cross-entropy in the logits is (softmax - one-hot) times the image's weight. That is differentiable as it stands,
    so the meta-gradient is of second order without a graph of gradients.

    Differences: those of MAML. The bias gets back its `own_share`, after the steps, which would take it away again:
    they see the support images only.
    """

    options: ClassVar[Mapping[str, Option]] = STEP_OPTIONS
    moves_buffers = False

    def __init__(
        self,
        network: Network,
        *,
        steps: int = 5,
        lr: float = 0.1,
        start: Start = "zero",
        start_scale: float = 1.0,
    ) -> None:
        super().__init__(network, {"steps": steps, "lr": lr, "start": start, "start_scale": start_scale})
        self.steps, self.lr, self.start, self.start_scale = steps, lr, start, start_scale

    def head(self, features: Features, labels: Labels) -> TaskParameters:
        """The head after the steps."""
        head = super().head(features, labels)
        check_finite([*head.values(), head_logits(head, features)])
        return head

    def _head(self, features: Features, targets: Targets) -> TaskParameters:
        targets = targets.to(features.dtype)
        shares = targets.shape[1] * targets if self.start == "prototypes" else torch.zeros_like(targets)
        coefficients = 2 * self.start_scale * shares  # of each image in each row of the head
        weight = coefficients.T @ features
        bias = -weight.square().sum(-1) / (4 * self.start_scale)  # -scale * |c|^2 of prototypes c

        def gradients(at: Fast) -> list[Tensor]:
            logits = F.linear(features, at["head.weight"], at["head.bias"])
            slope = logits.softmax(dim=-1) * targets.sum(1, keepdim=True) - targets  # (n, n_way)
            return [slope.T @ features, slope.sum(0), slope]

        start = {"head.weight": weight, "head.bias": bias, "coefficients": coefficients}
        head = last(descent(start, gradients, steps=self.steps, rate=lambda *_: self.lr))
        head["head.bias"] = head["head.bias"] + own_share(head.pop("coefficients"), features, targets)
        return head


def of_unit_size(gradients: Gradients, *, decay: float = 0.999, epsilon: float = 1e-8) -> Gradients:
    """The gradients divided by the root of their mean squares so far: Adam's direction with beta1 = 0.

    The function that it gives remembers the squares, so it is for one descent.
    """
    squares: list[Tensor] = []
    n_steps = 0

    def directions(at: Fast) -> list[Tensor]:
        nonlocal squares, n_steps
        found = gradients(at)
        n_steps += 1
        before = squares or [torch.zeros_like(g) for g in found]
        squares = [decay * s + (1 - decay) * g.square() for s, g in zip(before, found, strict=True)]
        correction = 1 - decay**n_steps
        return [g / ((s / correction).sqrt() + epsilon) for g, s in zip(found, squares, strict=True)]

    return directions


def minibatches(images: TaskImages, targets: TaskTargets, *, size: int) -> list[tuple[Tensor, Tensor]]:
    """The support sets in parts of about `size` images, each with images of as many classes as it can hold."""
    n_parts = -(-images.shape[1] // size)
    order = targets.argmax(dim=2).argsort(dim=1, stable=True)  # (n_tasks, n)
    tasks = torch.arange(len(images))[:, None]
    parts = []
    for first in range(n_parts):
        chosen = order[:, first::n_parts]
        of_part = targets[tasks, chosen]
        parts.append((images[tasks, chosen], of_part / of_part.sum(dim=(1, 2), keepdim=True)))
    return parts
