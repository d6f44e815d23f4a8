"""The constants that make a learner's answers trustworthy: fitted once for a base model, kept in its header.

Everything depends on the shape of the support set: on its number of classes and images a class. A law is a
linear function of (1, ln n_way, ln n_shot) and of further values that its user names; a class of unequal size counts
by the harmonic mean of the counts. The factor of the logits depends on how near the classes are to each other, too.

Why a file of its own: the header is read without torch.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Law: TypeAlias = tuple[float, ...]

MEANS = "head.means"
UNKNOWN = "head.unknown"
"""Names of the task parameters that the unknown score is made of; class probabilities do without them."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """How the accuracy of a task follows from what is known of it.

    Attributes:
        law: of the logit of the accuracy.
        spread: law of ln of the size of what the first misses; a further value is ln(p (1 - p)) of the accuracy p.
        low, high: between them lie at least 95 % of the misses, in standard deviations.
    """

    law: Law
    spread: Law
    low: float
    high: float

    def accuracy(self, values: Sequence[float]) -> tuple[float, tuple[float, float]]:
        """The expected accuracy and its 95 % interval."""
        p = _logistic(_product(self.law, values))
        deviation = math.exp(_product(self.spread, (*values[:3], math.log(p * (1 - p) + SMALLEST_VARIANCE))))
        return p, (max(0.0, p + self.low * deviation), min(1.0, p + self.high * deviation))


SMALLEST_VARIANCE = 1e-3
"""Added to p (1 - p): an accuracy near one still varies."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """The constants of one learner of a base model.

    Attributes:
        factor: law of ln of the factor of its logits; further values, which files of older releases lack, are
            ln(n_shot) squared and the separation of the classes.
        unknown: of the logit of the unknown score, laws of its constant and of ln of the weight of the squared distance
            to the nearest class mean.
        unit_means: whether that distance is to the means at unit length: of features of unit length, the angle.
        unknown_threshold: law of the logit of the score that 5 % of images of the task's classes reach.
        threshold: law of the logit of the top probability above which 95 % of answers are right.
        held_out: the accuracy from answers to held-out examples; further values as `trust.expected` has them.
        base_model: the accuracy from the shape alone.
    """

    factor: Law
    unknown: tuple[Law, Law]
    unknown_threshold: Law
    threshold: Law
    held_out: Expectation
    base_model: Expectation
    unit_means: bool = False

    def logit_factor(self, counts: Sequence[int], separation: float) -> float:
        """What the logits of a task are multiplied by.

        Args:
            counts: images of each class.
            separation: of the classes, as `trust.answers` has it.
        """
        return math.exp(_product(self.factor, factor_values(counts, separation)[: len(self.factor)]))

    def unknown_weights(self, counts: Sequence[int]) -> list[float]:
        """Weights of 1 and of the distance in the logit of a task's unknown score."""
        constant, weight = (_product(law, shape_values(counts)) for law in self.unknown)
        return [constant, math.exp(weight)]

    def thresholds(self, counts: Sequence[int]) -> dict[str, float]:
        """The suggested thresholds: `suggested` of the top probability, `unknown_suggested` of the unknown score."""
        values = shape_values(counts)
        known = _logistic(_product(self.threshold, values))
        return {
            "suggested": round(max(known, 1 / len(counts)), 3),
            "unknown_suggested": round(_logistic(_product(self.unknown_threshold, values)), 3),
        }


def shape_values(counts: Sequence[int]) -> tuple[float, float, float]:
    """(1, ln n_way, ln n_shot) of a support set with so many images in each class."""
    n_shot = len(counts) / sum(1 / count for count in counts)
    return 1.0, math.log(len(counts)), math.log(n_shot)


def factor_values(counts: Sequence[int], separation: float) -> tuple[float, ...]:
    """What the law of the factor is a linear function of.

    The square, because one image a class is a case of its own. The separation, because look-alikes have the same
    logits as other classes and are confused more: with it the mean calibration error over domains of photographs that
    the law was not fitted on falls from 1.87 to 1.52 %, the largest from 3.5 to 2.4 %, the mean at one or two images
    from 3.9 to 3.2 %. Of classes at unit length it rises.
    """
    values = shape_values(counts)
    return (*values, values[2] ** 2, separation)


def calibration_from_json(raw: Mapping[str, Any]) -> Calibration:
    """The constants as `dataclasses.asdict` and JSON left them."""
    laws = {name: tuple(raw[name]) for name in ("factor", "unknown_threshold", "threshold")}
    unknown = tuple(tuple(law) for law in raw["unknown"])
    return Calibration(
        **laws,
        unknown=unknown,  # type: ignore[arg-type]  # two of them
        held_out=_expectation(raw["held_out"]),
        base_model=_expectation(raw["base_model"]),
        unit_means=raw.get("unit_means", False),  # files of older releases do not have it
    )


def _expectation(raw: Mapping[str, Any]) -> Expectation:
    return Expectation(tuple(raw["law"]), tuple(raw["spread"]), raw["low"], raw["high"])


def _product(law: Law, values: Sequence[float]) -> float:
    return sum(weight * value for weight, value in zip(law, values, strict=True))


def _logistic(value: float) -> float:
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, value))))
