"""What there is to say about a task's support set: held-out answers, what looks wrong, how an unbalanced task does."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from service.metalearning.calibration import Calibration
from service.metalearning.episodes import Labels
from service.metalearning.learners.base import Pause, no_pause
from service.metalearning.learners.head_learner import HeadLearner
from service.metalearning.trust.answers import separation
from service.metalearning.trust.expected import ExpectedAccuracy, expected_accuracy
from service.metalearning.trust.holding_out import HeldOut, Pairs, Rows, held_out, near_copies

SUSPICIOUS = 0.8
"""The held-out probability of another class from which an example is named."""
CONFUSABLE = 0.3
"""The share of two classes' held-out examples taken for the other one from which they are named."""
UNBALANCED = 5.0
"""The ratio of the largest to the smallest class from which a task is unbalanced."""
FALSE_ALARM_RATES = (0.01, 0.05, 0.1)


@dataclass(frozen=True, slots=True)
class Suspect:
    """An example, by its place in the support set, that is answered as another class when it is held out."""

    example: int
    nearest: int


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to look at, with the classes and examples it concerns, by number.

    Codes: `single-image`, `duplicates-across-classes`, `nearest-to-another-class`, `confusable-classes`.
    """

    code: str
    classes: tuple[int, ...]
    examples: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Detection:
    """How the smallest class of an unbalanced task is found among the others, told from held-out answers.

    Attributes:
        recalls: pairs of false-alarm rate and recall.
    """

    label: int
    recalls: tuple[tuple[float, float], ...]
    average_precision: float


@dataclass(frozen=True, slots=True)
class Assessment:
    """What is known of a task; what cannot be said is None or empty.

    Attributes:
        recalls: of each class, from held-out examples.
        confusion: counts of held-out answers, a row a true class.
        thresholds: `suggested` and `unknown_suggested`.
    """

    counts: tuple[int, ...]
    expected: ExpectedAccuracy | None = None
    recalls: tuple[float | None, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    suspects: tuple[Suspect, ...] = ()
    findings: tuple[Finding, ...] = ()
    thresholds: dict[str, float] = field(default_factory=dict)
    detection: Detection | None = None


def assess(
    learner: HeadLearner,
    rows: Rows,
    labels: Labels,
    *,
    calibration: Calibration | None,
    groups: Sequence[int | None] = (),
    pause: Pause = no_pause,
) -> Assessment:
    """What the features of a support set say; without a calibration no accuracy, no threshold and no suspect."""
    labels = labels.cpu()
    counts = torch.bincount(labels).tolist()
    copies = near_copies(rows).cpu()
    found = held_out(learner, rows, labels.to(rows.device), groups=groups, copies=copies, pause=pause)
    factor = 1.0
    if calibration is not None:
        factor = calibration.logit_factor(counts, separation(rows, labels.to(rows.device)))
    evidence = HeldOut(found.logits.cpu() * factor, found.answered)
    suspects = () if calibration is None else _suspects(evidence, labels)
    confusion = _confusion(evidence, labels, len(counts))
    return Assessment(
        counts=tuple(counts),
        expected=None if calibration is None else expected_accuracy(calibration, counts, labels, evidence),
        recalls=tuple(_recall(row, index) for index, row in enumerate(confusion)),
        confusion=tuple(tuple(row) for row in confusion),
        suspects=suspects,
        findings=(*single_images(counts), *_copies(copies, labels), *_nearer(suspects, labels), *_alike(confusion)),
        thresholds={} if calibration is None else calibration.thresholds(counts),
        detection=_detection(evidence, labels, counts),
    )


def assess_counts(counts: Sequence[int], calibration: Calibration | None) -> Assessment:
    """What can be said without features: of learners that adapt the network."""
    labels = torch.arange(len(counts))
    expected = None if calibration is None else expected_accuracy(calibration, counts, labels, None)
    return Assessment(tuple(counts), expected, findings=single_images(counts))


def single_images(counts: Sequence[int]) -> tuple[Finding, ...]:
    """The classes of one image, as one finding."""
    alone = tuple(index for index, count in enumerate(counts) if count == 1)
    return (Finding("single-image", alone),) if alone else ()


def average_precision(scores: Float[Tensor, " n"], is_positive: Bool[Tensor, " n"]) -> float:
    """Mean precision at each positive, by falling score; of equal scores the positives come last."""
    order = torch.argsort(is_positive.int(), stable=True)
    order = order[torch.argsort(-scores[order], stable=True)]
    hits = is_positive[order].double()
    precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1)
    return float((precision * hits).sum() / hits.sum())


def recall_at(scores: Float[Tensor, " n"], is_positive: Bool[Tensor, " n"], false_alarm_rate: float) -> float:
    """Share of positives above the threshold that at most this share of the negatives passes."""
    negatives = scores[~is_positive].sort(descending=True).values
    threshold = negatives[min(int(false_alarm_rate * len(negatives)), len(negatives) - 1)]
    return float((scores[is_positive] > threshold).double().mean())


def _suspects(evidence: HeldOut, labels: Labels) -> tuple[Suspect, ...]:
    probabilities = evidence.logits.softmax(dim=-1)
    top, answers = probabilities.max(dim=-1)
    wrong = evidence.answered & (answers != labels) & (top >= SUSPICIOUS)
    places = sorted(wrong.nonzero().flatten().tolist(), key=lambda place: -float(top[place]))
    return tuple(Suspect(place, int(answers[place])) for place in places)


def _confusion(evidence: HeldOut, labels: Labels, n_way: int) -> list[list[int]]:
    answers = evidence.logits.argmax(dim=-1)
    pairs = (labels * n_way + answers)[evidence.answered]
    counts: list[list[int]] = torch.bincount(pairs, minlength=n_way * n_way).reshape(n_way, n_way).tolist()
    return counts


def _recall(row: Sequence[int], index: int) -> float | None:
    return row[index] / sum(row) if sum(row) else None


def _copies(copies: Pairs, labels: Labels) -> tuple[Finding, ...]:
    across = copies & (labels[:, None] != labels)
    places = tuple(across.any(1).nonzero().flatten().tolist())
    classes = tuple(torch.unique(labels[list(places)]).tolist())
    return (Finding("duplicates-across-classes", classes, places),) if places else ()


def _nearer(suspects: Sequence[Suspect], labels: Labels) -> tuple[Finding, ...]:
    if not suspects:
        return ()
    places = tuple(suspect.example for suspect in suspects)
    return (Finding("nearest-to-another-class", tuple(torch.unique(labels[list(places)]).tolist()), places),)


def _alike(confusion: Sequence[Sequence[int]]) -> tuple[Finding, ...]:
    """Pairs of classes of which many held-out examples are taken for the other one, at least two of them."""
    found = []
    for i, row in enumerate(confusion):
        for j in range(i):
            wrong = row[j] + confusion[j][i]
            if wrong >= 2 and wrong >= CONFUSABLE * (sum(row) + sum(confusion[j])):
                found.append(Finding("confusable-classes", (j, i)))
    return tuple(found)


def _detection(evidence: HeldOut, labels: Labels, counts: Sequence[int]) -> Detection | None:
    smallest = min(range(len(counts)), key=counts.__getitem__)
    answered = evidence.answered
    is_positive = (labels == smallest)[answered]
    if max(counts) < UNBALANCED * counts[smallest] or int(is_positive.sum()) < 2 or bool(is_positive.all()):
        return None
    logits = evidence.logits[answered]
    others = torch.cat([logits[:, :smallest], logits[:, smallest + 1 :]], dim=1)
    scores = logits[:, smallest] - others.logsumexp(dim=1)
    recalls = tuple((rate, recall_at(scores, is_positive, rate)) for rate in FALSE_ALARM_RATES)
    return Detection(smallest, recalls, average_precision(scores, is_positive))
