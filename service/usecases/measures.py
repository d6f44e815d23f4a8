"""How good answers are: figures from probabilities and true classes, in plain numpy.

An image whose true class is -1 belongs to no class of the task. It counts for `auroc` and `answered_share` only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Scores = NDArray[np.float64]
Flags = NDArray[np.bool_]

CALIBRATION_BINS = 15
_Z_95 = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One class, as found in a confusion matrix; None where a figure would be 0 / 0.

    Attributes:
        support: images that are of it.
        precision: share of what was called so that is so.
        recall: share of what is so that was called so.
        f1: their harmonic mean.
    """

    support: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """The answers whose probability lies above `low` up to `high`, the first bin's 0 included."""

    low: float
    high: float
    n_images: int
    probability: float | None
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far probabilities are from how often they are right; `error` is the expected calibration error."""

    error: float
    bins: tuple[CalibrationBin, ...]


@dataclass(frozen=True, slots=True)
class ThresholdFigures:
    """What happens where answers below a probability are withheld; accuracy is None where none is left."""

    threshold: float
    coverage: float
    accuracy: float | None


def wilson_interval(n_right: int, n_images: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927, JASA 22, 209-212): inside 0 to 1, also for 0 of n."""
    share, z2 = n_right / n_images, _Z_95**2
    middle = (share + z2 / (2 * n_images)) / (1 + z2 / n_images)
    half = _Z_95 * sqrt(share * (1 - share) / n_images + z2 / (4 * n_images**2)) / (1 + z2 / n_images)
    return max(0.0, middle - half), min(1.0, middle + half)


def confusion_counts(truth: Sequence[int], answers: Sequence[int], n_way: int) -> Counts:
    """How often class i (row) was called j (column)."""
    counts = np.zeros((n_way, n_way), np.int64)
    np.add.at(counts, (np.asarray(truth, int), np.asarray(answers, int)), 1)
    return counts


def class_figures(confusion: Counts) -> tuple[ClassFigures, ...]:
    """The figures of each class."""
    right, called, support = confusion.diagonal(), confusion.sum(0), confusion.sum(1)
    return tuple(
        ClassFigures(support=int(s), precision=_share(r, c), recall=_share(r, s), f1=_share(2 * r, c + s))
        for r, c, s in zip(right, called, support, strict=True)
    )


def balanced_accuracy(confusion: Counts) -> float:
    """The mean recall of the classes that have an image."""
    support = confusion.sum(1)
    present = support > 0
    return float((confusion.diagonal()[present] / support[present]).mean())


def calibration(confidence: Scores, is_right: Flags) -> Calibration:
    """The expected calibration error of the top probability (Guo et al. 2017, arXiv:1706.04599, eq. 3).

    15 bins of equal width, as in section 4 there; each image counts alike.
    """
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    index = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, CALIBRATION_BINS - 1)
    bins = [
        CalibrationBin(
            low=float(edges[b]),
            high=float(edges[b + 1]),
            n_images=int((index == b).sum()),
            probability=_mean(confidence[index == b]),
            accuracy=_mean(is_right[index == b]),
        )
        for b in range(CALIBRATION_BINS)
    ]
    gaps = [b.n_images * abs((b.accuracy or 0) - (b.probability or 0)) for b in bins]
    return Calibration(float(sum(gaps)) / len(confidence), tuple(bins))


def threshold_table(confidence: Scores, is_right: Flags, thresholds: Sequence[float]) -> tuple[ThresholdFigures, ...]:
    """For each threshold, the share of images answered (top probability at least it) and the accuracy among them."""
    return tuple(
        ThresholdFigures(t, answered_share(confidence, t), _mean(is_right[confidence >= t])) for t in thresholds
    )


def answered_share(confidence: Scores, threshold: float) -> float:
    """The share of images whose top probability is at least the threshold."""
    return float((confidence >= threshold).mean())


def auroc(scores: Scores, is_positive: Flags) -> float | None:
    """The chance that a positive has a higher score than a negative, ties counted half; None without one of both.

    It is the Mann-Whitney statistic over the number of pairs (Hanley and McNeil 1982).
    """
    n_positive, n_negative = int(is_positive.sum()), int((~is_positive).sum())
    if not n_positive or not n_negative:
        return None
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum() - (counts - 1) / 2)[inverse]  # ties share the mean of their ranks, from 1
    return float((ranks[is_positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def _share(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None


def _mean(values: NDArray[np.floating] | Flags) -> float | None:
    return float(values.mean()) if len(values) else None
