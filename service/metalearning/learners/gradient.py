"""Learners that adapt by gradient steps on the support loss: MAML, FOMAML, ANIL, Reptile.

One inner loop serves all: plain gradient descent on the class-balanced cross-entropy of the whole support set.
Meta-training runs it for all episodes of one shape at once under `torch.vmap` (seen on 2 cores: 2 to 2.7 times
faster than a loop over tasks); adaptation runs it for one task, in chunks, so that memory is bounded and
predictions can pass.

Statistics of the normalisation. With statistics="running" they are the base model's buffers, constants in
training as in service. With statistics="support" every step normalises by the support set, each class counted
alike; a last pass with the final parameters collects the statistics, which join the task parameters and normalise
every query. The last pass is part of the meta-gradient. No answer depends on the other queries, which is where we
differ from the published implementations of all four.
"""

from abc import ABC
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call

from service.metalearning.episodes import Episode, Images, Labels, SupportSet, of_one_shape
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
    no_pause,
    query_targets,
    settled,
)
from service.metalearning.learners.closed_form import Features, HeadLearner, chunked_features, prototype_head
from service.metalearning.learners.options import Choice, Number, Option
from service.metalearning.normalisation import BatchStatistics, named_statistics

Start = Literal["zero", "prototypes"]
Fast = dict[str, Tensor]
Gradients = Callable[[Fast], list[Tensor]]
TaskImages = Float[Tensor, "n_tasks n channels height width"]
TaskTargets = Float[Tensor, "n_tasks n n_way"]

STEP_OPTIONS: Mapping[str, Option] = {
    "steps": Number(0.0, 100.0, whole=True),
    "lr": Number(1e-8, 10.0),
    "start": Choice(("zero", "prototypes")),
    "start_scale": Number(1e-4, 100.0),
}


class GradientLearner(Learner, ABC):
    """A learner that adapts every parameter of the network by `steps` gradient steps of size `lr`.

    The head starts from zero or, as in Proto-MAML (Triantafillou et al. 2020, arXiv:1903.03096, section 3), from the
    prototypes of the support set times `start_scale`. Where the network was trained as a ProtoNet, that is the scale
    which it learned (seen on Omniglot, 20-way 5-shot, early in training, lr 0.01: 97.6 % from that scale, 86 % from
    scale 1, where the support loss is zero until it explodes). Either way a task may have any number of classes, and
    their order does not matter (after Kao et al. 2022, arXiv:2106.15367, on the zero head).
    """

    options: ClassVar[Mapping[str, Option]] = STEP_OPTIONS
    adapts = "network"

    def __init__(self, network: Network, settings: Mapping[str, Setting]) -> None:
        super().__init__(network, settings)
        self.steps, self.lr = int(settings["steps"]), float(settings["lr"])
        self.start, self.start_scale = str(settings["start"]), float(settings["start_scale"])

    def adapt(self, support: SupportSet, *, pause: Pause = no_pause) -> TaskParameters:
        """Run the inner loop from the network's parameters; memory does not grow with the steps.

        With running statistics the loss adds up over chunks, exactly. Support statistics need the whole set at once.
        """
        images, targets = support.images, balanced_targets(support.labels, support.images.dtype)
        size = len(images) if self.network.statistics == "support" else CHUNK_IMAGES
        chunks = list(zip(torch.split(images, size), torch.split(targets, size), strict=True))

        def gradients(at: Fast) -> list[Tensor]:
            total = [torch.zeros_like(tensor) for tensor in at.values()]
            for chunk in chunks:
                pause()
                found = gradients_of(partial(self._support_loss, *chunk), at, graph=False)
                total = [a + b for a, b in zip(total, found, strict=True)]
            return total

        with torch.no_grad():
            fast = dict(self._adapted()) | self._start_head(images, targets, pause=pause)
            fast = descended(fast, gradients, steps=self.steps, lr=self.lr)
            task = fast | self._statistics(fast, images, targets)
            for chunk in chunks:  # parameters can be finite and yet too large to answer with
                pause()
                check_finite([self._query_loss(task, *chunk)])
            return settled(task)

    def _solutions(self, images: TaskImages, targets: TaskTargets, *, graph: bool) -> Fast:
        """The inner loop's results for a batch of tasks, each tensor with a leading axis of tasks.

        They are differentiable in the network's parameters; with graph=False the steps count as constants.
        """
        start = {name: p.expand(len(images), *p.shape) for name, p in self._adapted()}

        def summed_loss(fast: Fast) -> Float[Tensor, ""]:
            losses: Tensor = torch.vmap(self._support_loss)(images, targets, fast)
            return losses.sum()

        fast = descended(
            start | torch.vmap(self._start_head)(images, targets),
            lambda at: gradients_of(summed_loss, at, graph=graph),
            steps=self.steps,
            lr=self.lr,
        )
        if self.network.statistics != "support":
            return fast
        return fast | torch.vmap(self._statistics)(fast, images, targets)

    def _adapted(self) -> Iterator[tuple[str, Tensor]]:
        return ((name, p) for name, p in self.network.named_parameters() if name.startswith("backbone."))

    def _batch(self, targets: Targets) -> BatchStatistics | None:
        return BatchStatistics(targets.sum(1)) if self.network.statistics == "support" else None

    def _support_loss(self, images: Images, targets: Targets, fast: Fast) -> Float[Tensor, ""]:
        logits = functional_call(self.network, fast, (images, self._batch(targets)))
        return balanced_loss(logits, targets)

    def _query_loss(self, task: Fast, images: Images, targets: Targets) -> Float[Tensor, ""]:
        return balanced_loss(functional_call(self.network, task, (images,)), targets)

    def _statistics(self, fast: Fast, images: Images, targets: Targets) -> Fast:
        """The support set's statistics under these parameters; none where the buffers serve."""
        batch = self._batch(targets)
        if batch is None:
            return {}
        functional_call(self.network, fast, (images, batch))
        return named_statistics(self.network, batch)

    def _start_head(self, images: Images, targets: Targets, *, pause: Pause = no_pause) -> Fast:
        if self.start == "zero":
            features = images.new_zeros(len(images), self.network.n_features)
        elif self.network.statistics == "support":
            features = self.network.backbone(images, self._batch(targets))
        else:
            features = chunked_features(self.network, images, pause=pause)
        return start_head(features, targets, start=self.start, scale=self.start_scale)


class MAML(GradientLearner):
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
        super().__init__(network, {"steps": steps, "lr": lr, "start": start, "start_scale": start_scale})
        self.first_order = first_order

    def backward(self, episodes: Sequence[Episode]) -> Tensor:
        """Differentiate the query losses of all episodes of one shape at once."""
        mean_loss = torch.zeros(())
        for group in of_one_shape(episodes):
            support, query = (
                _stacked([e.support for e in group]),
                _stacked([e.query for e in group], group[0].support.n_way),
            )
            tasks = self._solutions(*support, graph=not self.first_order)
            loss = torch.vmap(self._query_loss)(tasks, *query).sum() / len(episodes)
            torch.autograd.backward(loss)
            mean_loss = mean_loss.to(loss) + loss.detach()
        return mean_loss


class Reptile(GradientLearner):
    """Move the start towards each task's solution (Nichol et al. 2018, arXiv:1803.02999, algorithm 2).

    The mean of (start - solution) is left in .grad, so that plain SGD with learning rate e interpolates by e, and
    Adam works too (section 2). The head starts anew for each task and is not moved.

    Differences: the inner loop is full-batch gradient descent on the episode's support and query set joined, not Adam
    on minibatches; the head is not meta-learned.
    """

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

    def backward(self, episodes: Sequence[Episode]) -> Tensor:
        """Adapt on the whole of each episode and point .grad away from the solutions.

        The query loss that it returns is that of adapting on the support set alone.
        """
        mean_loss = torch.zeros(())
        for group in of_one_shape(episodes):
            n_way = group[0].support.n_way
            support, query = _stacked([e.support for e in group]), _stacked([e.query for e in group], n_way)
            with torch.no_grad():
                tasks = self._solutions(*support, graph=False)
                loss = torch.vmap(self._query_loss)(tasks, *query).sum() / len(episodes)
                solutions = self._solutions(*_stacked([joined(e) for e in group]), graph=False)
                self._point_away(solutions, share=len(group) / len(episodes))
            mean_loss = mean_loss.to(loss) + loss
        return mean_loss

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
    Differences: those of MAML.
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
        targets = balanced_targets(labels, features.dtype)
        head = start_head(features, targets, start=self.start, scale=self.start_scale)

        def gradients(at: Fast) -> list[Tensor]:
            logits = F.linear(features, at["head.weight"], at["head.bias"])
            slope = logits.softmax(dim=-1) * targets.sum(1, keepdim=True) - targets  # (n, n_way)
            return [slope.T @ features, slope.sum(0)]

        head = descended(head, gradients, steps=self.steps, lr=self.lr)
        check_finite([*head.values(), F.linear(features, head["head.weight"], head["head.bias"])])
        return head


def descended(fast: Fast, gradients: Gradients, *, steps: int, lr: float) -> Fast:
    """The parameters after `steps` gradient steps of size `lr`."""
    for _ in range(steps):
        found = gradients(fast)
        fast = {name: p - lr * g for (name, p), g in zip(fast.items(), found, strict=True)}
    return fast


def gradients_of(loss: Callable[[Fast], Tensor], at: Fast, *, graph: bool) -> list[Tensor]:
    """The loss's gradients; with `graph` differentiable in `at`, otherwise constants that hold no memory."""
    with torch.enable_grad():
        leaves = {n: t if graph and t.requires_grad else t.detach().requires_grad_() for n, t in at.items()}
        return list(torch.autograd.grad(loss(leaves), list(leaves.values()), create_graph=graph))


def start_head(features: Features, targets: Targets, *, start: str, scale: float) -> Fast:
    """The head before the first step."""
    if start == "prototypes":
        return prototype_head(features, targets, scale=scale)
    weight = features.new_zeros(targets.shape[1], features.shape[1])
    return {"head.weight": weight, "head.bias": weight.new_zeros(len(weight))}


def joined(episode: Episode) -> SupportSet:
    """Support and query set as one."""
    support, query = episode.support, episode.query
    return SupportSet(torch.cat([support.images, query.images]), torch.cat([support.labels, query.labels]))


def _stacked(sets: Sequence[SupportSet], n_way: int | None = None) -> tuple[TaskImages, TaskTargets]:
    """Images and targets with a leading axis of tasks; with n_way as query sets, which may lack a class."""
    dtype = sets[0].images.dtype
    targets = [
        balanced_targets(s.labels, dtype) if n_way is None else query_targets(s.labels, n_way, dtype) for s in sets
    ]
    return torch.stack([s.images for s in sets]), torch.stack(targets)
