"""Which of many unlabelled images to label next: pure choices on features, in plain numpy.

With few labels, the images that are typical of what there is most of and has no label yet: TypiClust, Hacohen et al.
2022, arXiv:2202.02794, section 3. With many, those that the task is least sure of, each from another corner:
Cluster-Margin, Citovsky et al. 2021, arXiv:2107.14263, algorithm 1. `tests/benchmarks/suggest.py` measures both, and
where to go over from the one to the other.

Where we differ from TypiClust: features are those of the base model instead of ones learned from the pool; k-means
is the same for any number of clusters, begun by k-means++ with a fixed seed; there are at most as many clusters as
leave 5 images each (theirs leaves smaller ones out); all clusters are covered before one is used twice. From
Cluster-Margin: k-means instead of an agglomerative clustering, made anew for each question, and one image a cluster.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

Directions = NDArray[np.float32]
"""Features of unit length: (n, n_features)."""

Indices = NDArray[np.intp]

NEIGHBOURS = 20
"""Over how many neighbours typicality is a mean: section 3.2 of TypiClust."""

CLUSTER_IMAGES = 5
CANDIDATES = 4
"""Least sure images looked at for each that is suggested; Cluster-Margin's k_m / k_t is 10 at first."""

_ITERATIONS = 25
_TINY = 1e-6


@dataclass(frozen=True, slots=True)
class Choice:
    """One image to label.

    Attributes:
        index: its place in the pool.
        n_alike: how many images of the pool are of its cluster, itself included.
        n_labelled: how many labelled images are.
        margin: how far apart the two most probable classes are; None where nobody asked.
    """

    index: int
    n_alike: int
    n_labelled: int
    margin: float | None = None


def typical(pool: Directions, labelled: Directions, n_wanted: int) -> list[Choice]:
    """The images to label first when few are labelled, in that order."""
    everything = np.concatenate([labelled, pool]).astype(np.float32)
    n_labelled = len(labelled)
    most = max(1, len(everything) // CLUSTER_IMAGES)
    cluster = k_means(everything, min(n_labelled + n_wanted, most))
    members = [np.flatnonzero(cluster == each) for each in np.unique(cluster)]
    queues = [_by_typicality(everything, rows, n_labelled) for rows in members]
    covered = [int((rows < n_labelled).sum()) for rows in members]
    sizes = [len(rows) - labelled_rows for rows, labelled_rows in zip(members, covered, strict=True)]
    picks = _least_covered(covered, sizes, queues)
    return [Choice(row - n_labelled, sizes[at], n_before) for at, row, n_before in islice(picks, n_wanted)]


def uncertain(pool: Directions, probabilities: NDArray[np.float32], n_wanted: int) -> list[Choice]:
    """The images to label next when many are labelled: unsure ones, none like another, the least sure first."""
    ordered = np.sort(probabilities, axis=1)
    margins = ordered[:, -1] - ordered[:, -2]
    candidates = np.argsort(margins, kind="stable")[: CANDIDATES * n_wanted]
    cluster = k_means(pool[candidates], min(n_wanted, len(candidates)))
    _, first = np.unique(cluster, return_index=True)  # candidates stand in the order of their margins
    rest = np.setdiff1d(np.arange(len(candidates)), first)
    chosen = [*np.sort(first), *rest][:n_wanted]
    sizes = np.bincount(cluster)
    return [Choice(int(candidates[at]), int(sizes[cluster[at]]), 0, float(margins[candidates[at]])) for at in chosen]


def k_means(points: Directions, n_clusters: int) -> Indices:
    """The cluster of each point: Lloyd's iterations from a k-means++ start, the same for the same points."""
    generator = np.random.default_rng(0)
    centres = _spread(points, n_clusters, generator)
    cluster = np.zeros(len(points), np.intp)
    for round_number in range(_ITERATIONS):
        nearest = _squared_distances(points, centres).argmin(1)
        if round_number and (nearest == cluster).all():
            break
        cluster = nearest
        for each in np.unique(cluster):
            centres[each] = points[cluster == each].mean(0)
    return cluster


def typicality(points: Directions) -> NDArray[np.float32]:
    """One over the mean distance to the nearest neighbours of each point: eq. 4 of TypiClust; infinite where alone."""
    distances = np.sqrt(_squared_distances(points, points))
    n_neighbours = min(NEIGHBOURS, len(points) - 1)
    if n_neighbours == 0:
        return np.full(len(points), np.inf, np.float32)
    nearest = np.sort(distances, axis=1)[:, 1 : n_neighbours + 1]  # the first is the point itself
    return np.asarray(1 / (nearest.mean(1) + _TINY), np.float32)


def _by_typicality(everything: Directions, rows: Indices, n_labelled: int) -> list[int]:
    """The rows of a cluster that belong to the pool, the most typical first."""
    order = rows[np.argsort(-typicality(everything[rows]), kind="stable")]
    return [int(row) for row in order if row >= n_labelled]


def _least_covered(covered: list[int], sizes: list[int], queues: list[list[int]]) -> Iterator[tuple[int, int, int]]:
    """Cluster, row and labels there before of each pick: from the cluster with the fewest labels, the largest of them.

    Uses up all three lists.
    """
    while any(queues):
        open_ones = [at for at, queue in enumerate(queues) if queue]
        at = min(open_ones, key=lambda each: (covered[each], -sizes[each]))
        yield at, queues[at].pop(0), covered[at]
        covered[at] += 1


def _spread(points: Directions, n_clusters: int, generator: np.random.Generator) -> Directions:
    """The centres to begin with: Arthur and Vassilvitskii 2007, each drawn by its squared distance to those before."""
    chosen = [int(generator.integers(len(points)))]
    nearest = _squared_distances(points, points[chosen]).ravel()
    while len(chosen) < n_clusters:
        total = float(nearest.sum())
        weights = nearest / total if total > 0 else np.full(len(points), 1 / len(points))
        chosen.append(int(generator.choice(len(points), p=weights / weights.sum())))
        nearest = np.minimum(nearest, _squared_distances(points, points[chosen[-1:]]).ravel())
    return points[chosen].copy()


def _squared_distances(points: Directions, centres: Directions) -> NDArray[np.float64]:
    squares = (points**2).sum(1)[:, None] + (centres**2).sum(1)[None, :] - 2 * points @ centres.T
    return np.asarray(np.maximum(squares, 0), np.float64)
