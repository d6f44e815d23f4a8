"""A cosine head: logits from the angle between features and class weights, the stronger transfer baseline."""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from service.metalearning.learners.base import Network, Targets, TaskParameters
from service.metalearning.learners.closed_form import own_share
from service.metalearning.learners.head_learner import Features, HeadLearner
from service.metalearning.learners.options import Number, Option


class Cosine(HeadLearner):
    """Class weights of unit length, fitted by gradient steps to features of unit length (Baseline++).

    Chen et al. 2019 (arXiv:1904.04232, section 3.3): the logits are `scale` times the cosine of the angle between an
    image's features and the weights of a class. That is a linear head on features of unit length, and the task says
    so: `head.unit_length` is 1 beside `head.weight`, whose rows have the length `scale`.

    Differences: the weights start from the mean direction of their class, not at random (weight imprinting, Qi et al.
    2018, arXiv:1712.07136), so that the head depends on the support set alone; the steps use the whole support set,
    without momentum and decay, and after each the weights are put back to unit length, where the published code also
    learns a length for each class; each class weighs the same; where classes differ in size there is a bias, their
    `own_share`; the scale is learned in meta-training, which differentiates the steps. The paper pre-trains by
    classification.
    """

    options: ClassVar[Mapping[str, Option]] = {
        "steps": Number(0.0, 100.0, whole=True),
        "lr": Number(1e-8, 10.0),
        "scale": Number(1e-4, 1e4),
    }

    def __init__(self, network: Network, *, steps: int = 100, lr: float = 0.1, scale: float = 10.0) -> None:
        super().__init__(network, {"steps": steps, "lr": lr, "scale": scale})
        self.steps, self.lr = steps, lr
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    @property
    def scale(self) -> float:
        """Factor of the cosines."""
        return self.log_scale.detach().exp().item()

    def _head(self, features: Features, targets: Targets) -> TaskParameters:
        """The head after the steps.

        They are taken on the coefficients of W = coefficients^T directions; in these a step is the slope itself.
        """
        targets = targets.to(features.dtype)
        directions, scale = F.normalize(features, dim=1), self.log_scale.exp().to(features.dtype)
        coefficients = targets
        for _ in range(self.steps):
            coefficients = _of_unit_rows(coefficients, directions)
            logits = scale * directions @ (directions.T @ coefficients)
            slope = logits.softmax(dim=-1) * targets.sum(1, keepdim=True) - targets  # (n, n_way)
            coefficients = coefficients - self.lr * scale * slope
        coefficients = scale * _of_unit_rows(coefficients, directions)
        return {
            "head.weight": coefficients.T @ directions,
            "head.bias": own_share(coefficients, directions, targets),
            "head.unit_length": features.new_ones(()),
        }


def _of_unit_rows(coefficients: Tensor, directions: Tensor) -> Tensor:
    """The coefficients divided so that each class's weights have unit length."""
    lengths = (coefficients.T @ directions).norm(dim=1)
    divided: Tensor = coefficients / lengths.clamp(min=torch.finfo(lengths.dtype).tiny)
    return divided
