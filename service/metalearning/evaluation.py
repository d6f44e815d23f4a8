"""Accuracy of a learner on episodes of classes it has never seen, each query answered by itself.

Every figure is inductive, an answer depends on its image, the support set and the base model, unless it is asked for
and labelled as transductive: then the queries of an episode are normalised together by their own statistics, as the
published code of MAML and others does. That is for reproducing papers; nothing else in Handful does it.

Where a learner adapts the head alone, features of an image are the same in every episode; they are computed once, and
the head is made and read as `adapt` and `predict` would do it.
"""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call

from service.errors import InvalidOption
from service.metalearning.datasets import Dataset
from service.metalearning.episodes import Images, Labels, SupportSet
from service.metalearning.header import Figure, PixelScaling
from service.metalearning.learners.base import CHUNK_IMAGES, Learner, TaskParameters, head_logits
from service.metalearning.learners.head_learner import HeadLearner
from service.metalearning.normalisation import BatchStatistics
from service.metalearning.preprocessing import scaled
from service.metalearning.sampling import EpisodeRows, EpisodeShape, check_drawable, draw_episode, trial_episodes
from service.metalearning.serialization import BaseModel, load_base_model, save_base_model

_TIMED_EPISODES = 50


@dataclass(frozen=True, slots=True)
class Measurement:
    """Accuracy over episodes of one shape.

    Attributes:
        accuracy: mean over episodes, in percent.
        interval_95: half width of its 95 % interval, in points.
        adapt_ms: median time from support images to task parameters.
        nll: mean negative log-likelihood of the right class; shows whether probabilities are sane.
        inductive: whether each query was answered by itself.
    """

    n_way: int
    n_shot: int
    accuracy: float
    interval_95: float
    episodes: int
    adapt_ms: float
    nll: float
    inductive: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Answering:
    """A learner with what stands between pixels and it.

    Attributes:
        transductive: whether the queries of an episode are normalised by their own statistics, all together.

    Raises:
        InvalidOption: transductive, and the backbone does not normalise by statistics.
    """

    learner: Learner
    scaling: PixelScaling
    transductive: bool = False

    def __post_init__(self) -> None:
        if self.transductive and self.learner.network.statistics == "constant":
            raise InvalidOption("the backbone's features do not depend on other images: nothing could be transductive")

    def logits(self, task: TaskParameters, images: Images) -> Tensor:
        """The answer to the queries of one episode."""
        if self.transductive:
            answer: Tensor = functional_call(self.learner.network, dict(task), (images, BatchStatistics()))
            return answer
        return torch.cat([_log(self.learner.predict(task, chunk)) for chunk in torch.split(images, CHUNK_IMAGES)])

    def support(self, dataset: Dataset, rows: EpisodeRows) -> SupportSet:
        """The support set as the learner sees it."""
        images = scaled(dataset.images[rows.support], self.scaling)
        return SupportSet(images, rows.support_labels)


def measure(
    answering: Answering,
    dataset: Dataset,
    shape: EpisodeShape,
    *,
    episodes: int,
    seed: int = 0,
    on_episode: Callable[[], None] = lambda: None,
) -> Measurement:
    """Accuracy over episodes that the seed decides.

    Args:
        answering: the learner.
        dataset: classes that it was not trained on.
        shape: sizes of the episodes.
        episodes: how many; at least 2. A data set of fixed trials has its own.
        seed: the same seed draws the same episodes for every learner.
        on_episode: called after each episode.

    Raises:
        DatasetError: the data set cannot fill the episodes.
    """
    generator = torch.Generator().manual_seed(seed)
    if dataset.trials:
        drawn = [_mixed(rows, generator) for rows in trial_episodes(dataset, shape, generator)]
    else:
        check_drawable(dataset, shape)
        drawn = [_mixed(draw_episode(dataset, shape, generator), generator) for _ in range(episodes)]
    logits = []
    with torch.no_grad():
        for of_episode in _logits(answering, dataset, drawn):
            logits.append(of_episode)
            on_episode()
    measured = _summary(shape, drawn, logits, adapt_ms=_adapt_ms(answering, dataset, drawn))
    return dataclasses.replace(measured, inductive=not answering.transductive)


def before_adaptation(base: BaseModel, name: str) -> Learner | None:
    """The learner as it answers before its first step; None if it takes no steps.

    Where the start is a choice it is a zero head, which is at chance; ProtoMAML and the cosine head have starts of
    their own.
    """
    options = base.learner(name).options
    if "steps" not in options:
        return None
    return base.learner(name, steps=0, start="zero") if "start" in options else base.learner(name, steps=0)


def write_figures(path: Path, figures: Sequence[Figure]) -> None:
    """Put measured figures into a checkpoint's header, in place of older ones of the same column; changes the file.

    Raises:
        InvalidOption: a figure is transductive; the service never answers so.
    """
    if not all(figure.inductive for figure in figures):
        raise InvalidOption("a transductive figure is not one of the base model's: it never answers so")
    base = load_base_model(path)
    kept = {_column(figure): figure for figure in base.header.figures} | {_column(new): new for new in figures}
    header = dataclasses.replace(base.header, figures=tuple(kept.values()))
    save_base_model(path, base.network, header, learned=base.learned)


def _column(figure: Figure) -> tuple[object, ...]:
    return (figure.dataset, figure.learner, figure.n_way, figure.n_shot)


def _mixed(rows: EpisodeRows, generator: torch.Generator) -> EpisodeRows:
    """The episode with its queries in random order."""
    order = torch.randperm(len(rows.query), generator=generator)
    return EpisodeRows(rows.support, rows.query[order], rows.support_labels, rows.query_labels[order])


def _logits(answering: Answering, dataset: Dataset, drawn: Sequence[EpisodeRows]) -> Iterator[Tensor]:
    """Logits of each episode's queries, (n_queries, n_way)."""
    learner = answering.learner
    if isinstance(learner, HeadLearner) and learner.adapts == "head" and not answering.transductive:
        yield from _head_logits(answering, learner, dataset, drawn)
        return
    for rows in drawn:
        with torch.enable_grad():
            task = learner.adapt(answering.support(dataset, rows))
        yield answering.logits(task, scaled(dataset.images[rows.query], answering.scaling))


def _log(probabilities: Tensor) -> Tensor:
    return probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()


def _head_logits(
    answering: Answering, learner: HeadLearner, dataset: Dataset, drawn: Sequence[EpisodeRows]
) -> Iterator[Tensor]:
    of_support = _Features(answering, dataset, [rows.support for rows in drawn])
    of_query = _Features(answering, dataset, [rows.query for rows in drawn])
    for rows in drawn:
        with torch.enable_grad():
            head = learner.head(of_support.of(rows.support), rows.support_labels)
        yield head_logits(head, of_query.of(rows.query)).detach()


class _Features:
    """Features of the images that occur in some rows, computed once."""

    def __init__(self, answering: Answering, dataset: Dataset, rows: Sequence[Tensor]) -> None:
        occurring = torch.unique(torch.cat(list(rows)))
        self.position = torch.full((len(dataset.images),), -1)
        self.position[occurring] = torch.arange(len(occurring))
        backbone = answering.learner.network.backbone
        chunks = (scaled(dataset.images[chunk], answering.scaling) for chunk in torch.split(occurring, CHUNK_IMAGES))
        self.features = torch.cat([backbone(images) for images in chunks])

    def of(self, rows: Tensor) -> Float[Tensor, "n n_features"]:
        """Features of these images."""
        return self.features[self.position[rows]]


def _adapt_ms(answering: Answering, dataset: Dataset, drawn: Sequence[EpisodeRows]) -> float:
    """Median time of whole adaptations, features included."""
    times = []
    for rows in drawn[:_TIMED_EPISODES]:
        support = answering.support(dataset, rows)
        start = time.perf_counter()
        answering.learner.adapt(support)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def _summary(
    shape: EpisodeShape, drawn: Sequence[EpisodeRows], logits: Sequence[Tensor], *, adapt_ms: float
) -> Measurement:
    labels = [rows.query_labels for rows in drawn]
    accuracies = torch.stack([_accuracy(*pair) for pair in zip(logits, labels, strict=True)])
    losses = [F.cross_entropy(*pair) for pair in zip(logits, labels, strict=True)]
    return Measurement(
        n_way=shape.n_way,
        n_shot=shape.n_shot,
        accuracy=100 * accuracies.mean().item(),
        interval_95=100 * 1.96 * accuracies.std().item() / math.sqrt(len(drawn)),
        episodes=len(drawn),
        adapt_ms=adapt_ms,
        nll=torch.stack(losses).mean().item(),
    )


def _accuracy(logits: Float[Tensor, "n n_way"], labels: Labels) -> Float[Tensor, ""]:
    return (logits.argmax(dim=1) == labels).double().mean()
