"""Learners that learn the rates of their inner loop: Meta-SGD and MAML++.

The rates are factors of the setting `lr`, 1 at the start. So `lr` keeps its meaning in a request, twice the `lr` is
twice every step, and settings alone describe a learner that has learned nothing yet. The factors are parameters of
the learner; a checkpoint keeps them beside the network.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from service.errors import CheckpointError
from service.metalearning.episodes import Episode
from service.metalearning.header import Setting
from service.metalearning.learners.base import Network, TaskParameters
from service.metalearning.learners.inner_loop import STEP_OPTIONS, Start, UnrolledLearner
from service.metalearning.learners.options import Number, Option

_FACTORS = "factors."


class LearnedRates(UnrolledLearner, ABC):
    """A gradient learner whose rates are `lr` times learned factors."""

    def __init__(self, network: Network, settings: Mapping[str, Setting]) -> None:
        super().__init__(network, settings, start=str(settings["start"]))
        self.factors = nn.ParameterDict({_key(name): torch.ones(shape) for name, shape in self._shapes()})

    def learned(self) -> dict[str, Tensor]:
        """The factors, by the names of the parameters that they belong to."""
        return {f"{_FACTORS}{name}": self.factors[_key(name)].detach() for name, _ in self._shapes()}

    def take_learned(self, tensors: TaskParameters) -> None:
        """Replace the factors; nothing leaves them as they are."""
        if not tensors:
            return
        expected = {f"{_FACTORS}{name}": shape for name, shape in self._shapes()}
        if tensors.keys() != expected.keys():
            raise CheckpointError(f"learned rates are of {', '.join(tensors)}, expected {', '.join(expected)}")
        for name, factors in tensors.items():
            if not self._fits(factors, expected[name]):
                raise CheckpointError(f"{name} has shape {tuple(factors.shape)}, expected {expected[name]}")
            self.factors[_key(name.removeprefix(_FACTORS))] = nn.Parameter(factors.detach().clone())

    @abstractmethod
    def _shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """The shape of the factors of each adapted parameter, the head's included."""

    def _fits(self, factors: Tensor, shape: tuple[int, ...]) -> bool:
        """Whether factors that were learned elsewhere can stand for those of this shape."""
        return tuple(factors.shape) == shape


class MetaSGD(LearnedRates):
    """MAML with a learned rate for each parameter (Li et al. 2017, arXiv:1707.09835, algorithm 1).

    The rates may turn negative, so that they choose the direction of a step too (section 3.1).

    Differences: those of MAML. The rows of the head share their rates, since a task has any number of classes. The
    paper draws the rates at random and takes one step; here they start at `lr`, and with more steps each uses the
    same rates.
    """

    def __init__(
        self, network: Network, *, steps: int = 1, lr: float = 0.1, start: Start = "zero", start_scale: float = 1.0
    ) -> None:
        super().__init__(network, {"steps": steps, "lr": lr, "start": start, "start_scale": start_scale})

    def _shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield from ((name, tuple(p.shape)) for name, p in self._adapted())
        yield from (("head.weight", (self.network.n_features,)), ("head.bias", ()))

    def _rate(self, step: int, name: str) -> Tensor | float:  # noqa: ARG002  # one for all steps
        factors: Tensor = self.factors[_key(name)]
        return self.lr * factors


class MAMLPlusPlus(LearnedRates):
    """MAML with a learned rate for each layer and step, and a gentler start of training (MAML++).

    Antoniou et al. 2019 (arXiv:1810.09502), section 4, of whose six changes these are here: learned rates for each
    layer and step (LSLR); the multi-step loss (MSL), for the first `multi_step_until` calls of `backward` the weighted
    sum of the query losses after every step, all equal at first and moving to the last one; derivative-order annealing
    (DA), first order for the first `first_order_until` calls. Both are 0, none, unless a recipe says otherwise.

    More steps than were trained repeat the rates of the last one.

    Differences: those of MAML, hence no normalisation by the query batch and no statistics, weights and biases of
    normalisation for each step (BNRS, BNWB), and those weights are adapted like all others; a layer's weight and bias
    have rates of their own, as in the published code; the weights of the multi-step loss move linearly to the last
    step alone, where that code leaves 0.03 / steps to the others; the cosine schedule (CA) is the recipe's.
    """

    options: ClassVar[Mapping[str, Option]] = {
        **STEP_OPTIONS,
        "multi_step_until": Number(0.0, 1e9, whole=True),
        "first_order_until": Number(0.0, 1e9, whole=True),
    }
    n_trained: Tensor

    def __init__(  # noqa: PLR0913  # a setting is an argument
        self,
        network: Network,
        *,
        steps: int = 5,
        lr: float = 0.1,
        start: Start = "zero",
        start_scale: float = 1.0,
        multi_step_until: int = 0,
        first_order_until: int = 0,
    ) -> None:
        settings: dict[str, Setting] = {"steps": steps, "lr": lr, "start": start, "start_scale": start_scale}
        annealing = {"multi_step_until": multi_step_until, "first_order_until": first_order_until}
        super().__init__(network, {**settings, **annealing})
        self.multi_step_until, self.first_order_until = multi_step_until, first_order_until
        self.register_buffer("n_trained", torch.zeros((), dtype=torch.int64))

    def backward(self, episodes: Sequence[Episode]) -> Tensor:
        """Differentiate the query losses as the annealing has it; one call is one step of it.

        The loss that it returns is that after the last step alone.
        """
        loss = super().backward(episodes)
        self.n_trained += 1
        return loss

    def _shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        names = [*(name for name, _ in self._adapted()), "head.weight", "head.bias"]
        return ((name, (max(1, self.steps),)) for name in names)

    def _fits(self, factors: Tensor, shape: tuple[int, ...]) -> bool:  # noqa: ARG002  # of any number of steps
        return factors.ndim == 1 and len(factors) > 0

    def _rate(self, step: int, name: str) -> Tensor | float:
        factors: Tensor = self.factors[_key(name)]
        return self.lr * factors[min(step, len(factors) - 1)]

    def _is_second_order(self) -> bool:
        return int(self.n_trained) >= self.first_order_until

    def _loss_weights(self) -> Sequence[float]:
        if int(self.n_trained) >= self.multi_step_until or self.steps == 0:
            return (1.0,)
        each = (1 - int(self.n_trained) / self.multi_step_until) / self.steps
        return (*(each for _ in range(self.steps - 1)), 1 - (self.steps - 1) * each)


def _key(name: str) -> str:
    """The name of a parameter without dots, which the name of another parameter cannot have."""
    return name.replace(".", "/")
