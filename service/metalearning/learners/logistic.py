"""A linear head fitted until it no longer changes: logistic regression, the baseline of transfer learning."""

import math
from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from service.errors import InvalidOption
from service.metalearning.learners.base import Network, Targets, TaskParameters, balanced_loss
from service.metalearning.learners.closed_form import own_share
from service.metalearning.learners.head_learner import Features, HeadLearner
from service.metalearning.learners.options import Number, Option

Rows = Float[Tensor, "n_way n_columns"]
"""The rows of a head, the bias in the last column."""

TOLERANCE = 1e-8
"""Of the gradient's length against that at the zero head: about as many digits of single precision as there are."""
_MOST_STEPS = 100


class Linear(HeadLearner):
    """Multinomial logistic regression with an L2 penalty, to convergence (LR-D2: Bertinetto et al. 2019, 1805.08136).

    Minimises the class-balanced cross-entropy + penalty / 2 * |W|^2; the bias is free. The problem is convex, so the
    head is a function of the support set: no start, no rate, no number of steps. Newton's method on all rows, each
    step solved by conjugate gradients (Nocedal and Wright 2006, algorithm 7.1), in double precision, until the
    gradient is below TOLERANCE of that at the zero head.

    It is the head of "Baseline" in Chen et al. 2019 (arXiv:1904.04232, section 3.2) and of Tian et al. 2020
    (arXiv:2003.11539, section 3.3), who fit it by 100 epochs of SGD and by L-BFGS, the latter to features of unit
    length, with a penalty on the sum of losses: penalty here is 1 / (C n) there.

    Differences: each class weighs the same, and the bias gets back its `own_share`. LR-D2 unrolls a fixed number of
    steps; here the meta-gradient is that of the minimum itself, by the implicit function theorem, and it learns the
    penalty too.
    """

    options: ClassVar[Mapping[str, Option]] = {"penalty": Number(1e-6, 1e6)}
    is_vectorised = False

    def __init__(self, network: Network, *, penalty: float = 0.01) -> None:
        super().__init__(network, {"penalty": penalty})
        self.log_penalty = nn.Parameter(torch.tensor(math.log(penalty)))

    @property
    def penalty(self) -> float:
        """Weight of |W|^2 / 2 against the mean loss."""
        return self.log_penalty.detach().exp().item()

    def _head(self, features: Features, targets: Targets) -> TaskParameters:
        """The head at the minimum."""
        regression = _Regression(features.double(), targets, self.log_penalty.double().exp())
        rows = regression.differentiable(regression.minimum())
        coefficients = -regression.slope(rows) / regression.penalty
        bias = rows[:, -1] + own_share(coefficients, regression.features, regression.targets)
        return {"head.weight": rows[:, :-1].to(features.dtype), "head.bias": bias.to(features.dtype)}


class _Regression:
    """One problem: its loss, derivatives and minimum."""

    def __init__(
        self, features: Float[Tensor, "n n_features"], targets: Float[Tensor, "n n_way"], penalty: Float[Tensor, ""]
    ) -> None:
        self.features, self.targets, self.penalty = features, targets, penalty
        self.weights = targets.sum(1, keepdim=True)

    def loss(self, rows: Rows) -> Float[Tensor, ""]:
        """What is minimised."""
        return balanced_loss(self._logits(rows), self.targets) + self.penalty / 2 * rows[:, :-1].square().sum()

    def slope(self, rows: Rows) -> Float[Tensor, "n n_way"]:
        """The gradient of the cross-entropy in the logits."""
        return self._logits(rows).softmax(dim=-1) * self.weights - self.targets

    def gradient(self, rows: Rows) -> Rows:
        """The gradient of the loss."""
        return self._summed(self.slope(rows), rows)

    def curvature(self, rows: Rows) -> Callable[[Rows], Rows]:
        """The Hessian at these rows, as a function of a direction."""
        p = self._logits(rows).softmax(dim=-1)

        def product(direction: Rows) -> Rows:
            along = p * self._logits(direction)
            return self._summed(self.weights * (along - p * along.sum(1, keepdim=True)), direction)

        return product

    def minimum(self) -> Rows:
        """Where the gradient is zero but for TOLERANCE.

        Raises:
            InvalidOption: it is not reached, for a penalty too small for double precision.
        """
        with torch.no_grad():
            rows = self.features.new_zeros(self.targets.shape[1], self.features.shape[1] + 1)
            gradient = self.gradient(rows)
            first = gradient.norm()
            for _ in range(_MOST_STEPS):
                if gradient.norm() <= TOLERANCE * first:
                    return rows
                accuracy = min(0.1, float((gradient.norm() / first).sqrt()))
                direction = conjugate_gradients(self.curvature(rows), -gradient, accuracy=accuracy)
                rows = self._searched(rows, direction, gradient)
                gradient = self.gradient(rows)
        raise InvalidOption("the fit of the head did not converge: raise penalty")

    def differentiable(self, minimum: Rows) -> Rows:
        """The minimum as a function of features and penalty.

        Its derivative is minus the inverse Hessian times that of the gradient at a fixed place: the gradient, which
        is zero, is subtracted, and what comes back to it is multiplied by the inverse Hessian.
        """
        gradient = self.gradient(minimum)
        if not gradient.requires_grad:
            return minimum
        with torch.no_grad():
            curvature = self.curvature(minimum)
        # torch has no types for hooks
        gradient.register_hook(  # type: ignore[no-untyped-call]
            lambda back: conjugate_gradients(curvature, back, accuracy=TOLERANCE)
        )
        return minimum - (gradient - gradient.detach())

    def _logits(self, rows: Rows) -> Float[Tensor, "n n_way"]:
        return F.linear(self.features, rows[:, :-1], rows[:, -1])

    def _summed(self, slope: Float[Tensor, "n n_way"], rows: Rows) -> Rows:
        """What a slope in the logits means for the rows, and the penalty's part."""
        return torch.cat([slope.T @ self.features + self.penalty * rows[:, :-1], slope.sum(0)[:, None]], dim=1)

    def _searched(self, rows: Rows, direction: Rows, gradient: Rows) -> Rows:
        """The first of 1, 1/2, 1/4... of the step that lowers the loss enough (Armijo 1966)."""
        before, slope = self.loss(rows), (gradient * direction).sum()
        share = 1.0
        while self.loss(rows + share * direction) > before + 1e-4 * share * slope + 1e-14 and share > 1e-10:
            share /= 2
        return rows + share * direction


def conjugate_gradients(product: Callable[[Rows], Rows], wanted: Rows, *, accuracy: float) -> Rows:
    """The x with product(x) = wanted, by Hestenes and Stiefel 1952.

    Args:
        product: symmetric, positive semidefinite; `wanted` has no part in its null space.
        wanted: the right side.
        accuracy: the residual's length against that of `wanted`.
    """
    found, residual = torch.zeros_like(wanted), wanted
    direction, length = wanted, wanted.square().sum()
    enough = accuracy**2 * length
    for _ in range(wanted.numel()):
        if length <= enough:
            break
        applied = product(direction)
        step = length / (direction * applied).sum()
        found, residual = found + step * direction, residual - step * applied
        before, length = length, residual.square().sum()
        direction = residual + length / before * direction
    return found
