"""The inner loop: gradient steps on the support loss, for one task or for many at once.

One loop serves every learner that adapts the network: plain gradient descent on the class-balanced cross-entropy of
the whole support set. Meta-training runs it for many episodes of one shape at once under `torch.vmap` (how much faster
than a loop over tasks that is: `tests/benchmarks/meta_training.py`); adaptation runs it for one task, in chunks, so
that memory is bounded and predictions can pass.

Statistics of the normalisation. With statistics="running" they are the base model's buffers, constants in
training as in service. With statistics="support" every step normalises by the support set, each class counted
alike; a last pass with the final parameters collects the statistics, which join the task parameters and normalise
every query. The last pass is part of the meta-gradient. No answer depends on the other queries, which is where we
differ from the published implementations of every learner here.
"""

from abc import ABC
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import repeat
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call

from service.metalearning.episodes import Episode, Images, SupportSet, of_one_shape, tasks_in_a_pass
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
from service.metalearning.learners.closed_form import prototype_head
from service.metalearning.learners.head_learner import Features, chunked_features
from service.metalearning.learners.options import Choice, Number, Option
from service.metalearning.normalisation import BatchStatistics, named_statistics

Start = Literal["zero", "prototypes"]
Fast = dict[str, Tensor]
Gradients = Callable[[Fast], list[Tensor]]
TaskLoss = Callable[[Images, Targets, Fast], Tensor]
Rate = Callable[[int, str], Tensor | float]
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

    The head starts from zero or from the prototypes of the support set times `start_scale`. Where the network was
    trained as a ProtoNet, that is the scale which it learned (seen on Omniglot, 20-way 5-shot, early in training,
    lr 0.01: 97.6 % from that scale, 86 % from scale 1, where the support loss is zero until it explodes). Either way
    a task may have any number of classes, and their order does not matter (after Kao et al. 2022, arXiv:2106.15367,
    on the zero head).
    """

    options: ClassVar[Mapping[str, Option]] = STEP_OPTIONS
    adapts = "network"

    def __init__(self, network: Network, settings: Mapping[str, Setting], *, start: str) -> None:
        super().__init__(network, settings)
        self.steps, self.lr = int(settings["steps"]), float(settings["lr"])
        self.start, self.start_scale = start, float(settings["start_scale"])

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
            start = dict(self._adapted()) | self._start_head(images, targets, pause=pause)
            fast = last(descent(start, self._directions(gradients), steps=self.steps, rate=self._rate))
            task = fast | self._statistics(fast, images, targets)
            for chunk in chunks:  # parameters can be finite and yet too large to answer with
                pause()
                check_finite([self._query_loss(*chunk, task)])
            return settled(task)

    def _adapted(self) -> Iterator[tuple[str, Tensor]]:
        """The parameters of the backbone that the steps move."""
        return ((name, p) for name, p in self.network.named_parameters() if name.startswith("backbone."))

    def _rate(self, step: int, name: str) -> Tensor | float:  # noqa: ARG002  # for learners that learn their rates
        """What the gradient of a parameter is multiplied by in a step, counted from 0."""
        return self.lr

    def _directions(self, gradients: Gradients) -> Gradients:
        """What a step goes along, given the gradients: themselves."""
        return gradients

    def _batches(self, images: TaskImages, targets: TaskTargets) -> Iterator[tuple[Tensor, Tensor]]:
        """What each step of training sees of the support sets: the whole."""
        return repeat((images, targets))

    def _solutions(self, images: TaskImages, targets: TaskTargets, *, graph: bool, n_states: int = 1) -> list[Fast]:
        """The last `n_states` states of the inner loop, its result last, for a batch of tasks.

        Each tensor has a leading axis of tasks and is differentiable in the network's parameters; with graph=False
        the steps count as constants.
        """
        start = {name: p.expand(len(images), *p.shape) for name, p in self._adapted()}
        known = self._known_steps()
        if known:
            slopes = self._head_slopes(images, targets, graph=graph)
            start |= {name: -self._rate(0, name) * slope for name, slope in slopes.items()}
        else:
            start |= torch.vmap(self._start_head)(images, targets)
        batches = self._batches(images, targets)

        def gradients(at: Fast) -> list[Tensor]:
            return gradients_of(partial(self._summed_loss, *next(batches)), at, graph=graph)

        path = descent(start, self._directions(gradients), steps=self.steps, rate=self._rate, known=known)
        states = deque(path, maxlen=n_states)
        if self.network.statistics != "support":
            return list(states)
        return [fast | torch.vmap(self._statistics)(fast, images, targets) for fast in states]

    def _known_steps(self) -> int:
        """How many of the first steps of training are known to move the head alone.

        A zero head passes nothing back, so the first step from it does. Training writes that step out: one pass of
        the weights that the tasks share, instead of one with weights of its own for each, differentiated twice.
        """
        return int(self.start == "zero" and self.steps > 0)

    def _head_slopes(self, images: TaskImages, targets: TaskTargets, *, graph: bool) -> Fast:
        """The gradient of the support loss in a zero head, for a batch of tasks; that in the backbone is zero."""

        def of_task(images: Images, targets: Targets) -> Fast:
            batch = self._batch(targets)
            features = self.network.features(images, batch)
            slope = targets.sum(1, keepdim=True) / targets.shape[1] - targets  # each class is equally likely
            return {"head.weight": slope.T @ features, "head.bias": slope.sum(0)}

        with torch.set_grad_enabled(graph):
            slopes: Fast = torch.vmap(of_task)(images, targets)
        return slopes

    def _batch(self, targets: Targets) -> BatchStatistics | None:
        return BatchStatistics(targets.sum(1)) if self.network.statistics == "support" else None

    def _summed_loss(self, images: TaskImages, targets: TaskTargets, fast: Fast) -> Float[Tensor, ""]:
        return summed(self._support_loss, images, targets, fast)

    def _support_loss(self, images: Images, targets: Targets, fast: Fast) -> Float[Tensor, ""]:
        logits = functional_call(self.network, fast, (images, self._batch(targets)))
        return balanced_loss(logits, targets)

    def _query_loss(self, images: Images, targets: Targets, task: Fast) -> Float[Tensor, ""]:
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
            features = self.network.features(images, self._batch(targets))
        else:
            features = chunked_features(self.network, images, pause=pause)
        return start_head(features, targets, start=self.start, scale=self.start_scale)


class UnrolledLearner(GradientLearner, ABC):
    """A gradient learner that is trained by the gradient of the query loss after its steps."""

    def backward(self, episodes: Sequence[Episode]) -> Tensor:
        """Differentiate the query losses of all episodes of one shape at once."""
        graph, weights = self._is_second_order(), self._loss_weights()
        mean_loss = torch.zeros(())
        for group in of_one_shape(episodes):
            support = stacked([e.support for e in group])
            query = stacked([e.query for e in group], group[0].support.n_way)
            states = self._solutions(*support, graph=graph, n_states=len(weights))
            losses = [summed(self._query_loss, *query, state) / len(episodes) for state in states]
            torch.autograd.backward([weight * loss for weight, loss in zip(weights, losses, strict=True)])
            mean_loss = mean_loss.to(losses[-1]) + losses[-1].detach()
        return mean_loss

    def _is_second_order(self) -> bool:
        """Whether the gradients of the inner loop are differentiated too."""
        return True

    def _loss_weights(self) -> Sequence[float]:
        """What the query loss counts after each of the last steps."""
        return (1.0,)


def descent(start: Fast, gradients: Gradients, *, steps: int, rate: Rate, known: int = 0) -> Iterator[Fast]:
    """The parameters before the first gradient step and after each; `known` steps are taken in the start."""
    fast = start
    yield fast
    for step in range(known, steps):
        found = gradients(fast)
        fast = {name: moved(p, g, rate(step, name)) for (name, p), g in zip(fast.items(), found, strict=True)}
        yield fast


def moved(p: Tensor, gradient: Tensor, rate: Tensor | float) -> Tensor:
    """A parameter after a step down its gradient."""
    return p - rate * gradient if isinstance(rate, Tensor) else torch.sub(p, gradient, alpha=rate)


def last(states: Iterable[Fast]) -> Fast:
    """The last state, none of the others kept."""
    return deque(states, maxlen=1).pop()


def gradients_of(loss: Callable[[Fast], Tensor], at: Fast, *, graph: bool) -> list[Tensor]:
    """The loss's gradients; with `graph` differentiable in `at`, otherwise constants that hold no memory."""
    with torch.enable_grad():
        leaves = {n: t if graph and t.requires_grad else t.detach().requires_grad_() for n, t in at.items()}
        return list(torch.autograd.grad(loss(leaves), list(leaves.values()), create_graph=graph))


def summed(loss: TaskLoss, images: TaskImages, targets: TaskTargets, fast: Fast) -> Float[Tensor, ""]:
    """The sum of the tasks' losses, as many tasks at once as pay."""
    size = tasks_in_a_pass(images.shape[1])
    parts = {name: torch.split(tensor, size) for name, tensor in fast.items()}
    sums = [
        torch.vmap(loss)(*both, {name: tensors[index] for name, tensors in parts.items()}).sum()
        for index, both in enumerate(zip(torch.split(images, size), torch.split(targets, size), strict=True))
    ]
    return torch.stack(sums).sum()


def start_head(features: Features, targets: Targets, *, start: str, scale: float) -> Fast:
    """The head before the first step."""
    if start == "prototypes":
        return prototype_head(features, targets, scale=scale)
    weight = features.new_zeros(targets.shape[1], features.shape[1])
    return {"head.weight": weight, "head.bias": weight.new_zeros(len(weight))}


def stacked(sets: Sequence[SupportSet], n_way: int | None = None) -> tuple[TaskImages, TaskTargets]:
    """Images and targets with a leading axis of tasks; with n_way as query sets, which may lack a class."""
    dtype = sets[0].images.dtype
    targets = [
        balanced_targets(s.labels, dtype) if n_way is None else query_targets(s.labels, n_way, dtype) for s in sets
    ]
    return torch.stack([s.images for s in sets]), torch.stack(targets)
