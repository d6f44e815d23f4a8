"""How far answers can be trusted: calibration, images of no class, the accuracy to expect of a task.

    python -m tests.benchmarks.trust --data ../shared/data [--features DIR] [--tasks 500] [--most 15]

Drawings are Omniglot's test characters with their rotations, photographs are Grocery: support images from the files
named `train_`, queries from those named `test_`. The constants in the checkpoints were fitted on other classes
(`python -m service.cli.calibrate`). Every task is drawn anew:

- ECE, 15 bins, of the pooled queries of tasks of 2 to 20 classes of 1 to 20 images, one in four unbalanced; before
  the calibration and after it. The maximum is the largest ECE of one number of classes and images.
- AUROC in percent, the mean over 5-way 5-shot tasks, against queries of 5 classes that the task does not have, of the
  unknown score and of the top probability (softmax).
- Expected accuracy: the share of tasks whose accuracy on the remaining images (all queries of its classes, each class
  with the same weight) lies in the 95 % interval, and the mean of expected less found accuracy in points; beside it
  plain leave-one-out with a Wilson interval.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from service.imaging import decode
from service.metalearning.calibration import Calibration
from service.metalearning.datasets import read_omniglot, with_rotations
from service.metalearning.learners.head_learner import HeadLearner
from service.metalearning.preprocessing import scaled
from service.metalearning.serialization import BaseModel, load_base_model
from service.metalearning.trust.drawing import (
    Domain,
    Task,
    answered,
    draw,
    draw_counts,
)
from service.metalearning.trust.expected import expected_accuracy
from service.metalearning.trust.holding_out import HeldOut
from service.usecases import measures
from tests.benchmarks.grocery import read_kinds

MODELS = Path("service/base_models")
SHAPES = ((5, 1), (5, 5), (20, 1), (20, 5), (2, 5), (10, 10))


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A base model and images that nothing was fitted on."""

    base: BaseModel
    domain: Domain


def drawings(data: Path, cache: Path | None, most: int | None = None) -> Measured:
    """Omniglot's test characters."""
    base = load_base_model(MODELS / "omniglot-conv4.safetensors")
    kept = None if cache is None else cache / "omniglot.pt"
    if kept is not None and kept.exists():
        return Measured(base, Domain("drawings", torch.load(kept, weights_only=True)))
    wanted = base.header.input
    dataset = with_rotations(
        read_omniglot(data, "test", lambda file: decode(file, [wanted], max_pixels=10**8).arrays[0])
    )
    with torch.inference_mode():
        images = [scaled(dataset.images[rows], base.header.scaling) for rows in dataset.rows]
        kinds = [base.network.backbone(of_kind).clone() for of_kind in images]
    if kept is not None:
        torch.save(kinds, kept)
    return Measured(base, Domain("drawings", kinds))


def photographs(data: Path, cache: Path | None, most: int | None = None) -> Measured:
    """Grocery; of each kind up to `most` photographs for support sets and as many queries."""
    base = load_base_model(MODELS / "photo.safetensors")
    kept = None if cache is None else cache / "grocery.pt"
    if kept is not None and kept.exists():
        support, queries = torch.load(kept, weights_only=True)
    else:
        kinds = read_kinds(base, data, most=None if most is None else (most, most))
        support = [rows.clone() for rows in kinds.support]
        queries = [rows.clone() for rows in kinds.query]
        if kept is not None:
            torch.save((support, queries), kept)
    return Measured(base, Domain("photographs", support, queries))


def draw_tasks(
    domain: Domain, learner: HeadLearner, counts: Sequence[Sequence[int]], *, n_query: int, seed: int = 0
) -> list[Task]:
    """A task of each of these shapes, with up to so many queries a class."""
    generator = torch.Generator().manual_seed(seed)
    return [answered(learner, draw(domain, each, generator, n_query=n_query)) for each in counts]


def calibration_errors(tasks: Sequence[Task], calibration: Calibration) -> tuple[float, float]:
    """ECE in percent before and after."""
    is_right = torch.cat([task.logits.argmax(-1) == task.labels for task in tasks])
    before = torch.cat([task.logits.softmax(-1).amax(-1) for task in tasks])
    factors = [calibration.logit_factor(task.counts, task.separation) for task in tasks]
    after = torch.cat([(f * task.logits).softmax(-1).amax(-1) for f, task in zip(factors, tasks, strict=True)])
    return _error(before, is_right), _error(after, is_right)


def unknown_aurocs(task: Task, calibration: Calibration) -> tuple[float, float]:
    """AUROC in percent of softmax and of the unknown score."""
    factor = calibration.logit_factor(task.counts, task.separation)
    softmax = [-(factor * logits).softmax(-1).amax(-1) for logits in (task.logits, task.unseen_logits)]
    _, weight = calibration.unknown_weights(task.counts)
    distances = task.distances[calibration.unit_means]
    return _auroc(*softmax), _auroc(weight * distances.known, weight * distances.unseen)


def _error(confidence: Tensor, is_right: Tensor) -> float:
    return 100 * measures.calibration(confidence.double().numpy(), is_right.numpy()).error


def _auroc(known: Tensor, unseen: Tensor) -> float:
    is_unseen = torch.cat([torch.zeros(len(known)), torch.ones(len(unseen))]).bool()
    found = measures.auroc(torch.cat([known, unseen]).double().numpy(), is_unseen.numpy())
    assert found is not None
    return 100 * found


def accuracy_of_rest(task: Task) -> float:
    """Mean recall over the classes."""
    right = task.logits.argmax(-1) == task.labels
    n_way = len(task.counts)
    return float(torch.stack([right[task.labels == index].double().mean() for index in range(n_way)]).mean())


def expectation(task: Task, calibration: Calibration) -> tuple[bool, float]:
    """Whether the interval covers the accuracy of the rest, and how much more was expected, in points."""
    evidence = HeldOut(
        task.evidence.logits * calibration.logit_factor(task.counts, task.separation), task.evidence.answered
    )
    expected = expected_accuracy(calibration, task.counts, task.support_labels, evidence)
    found = accuracy_of_rest(task)
    low, high = expected.interval_95
    return low <= found <= high, 100 * (expected.accuracy - found)


def plain_expectation(task: Task) -> tuple[bool, float]:
    """The same for the share of right held-out answers and its Wilson interval."""
    answers = task.evidence.answered
    n = int(answers.sum())
    if not n:
        return False, math.nan
    right = (task.evidence.logits.argmax(-1) == task.support_labels)[answers]
    p, z = float(right.double().mean()), 1.96
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    found = accuracy_of_rest(task)
    return middle - half <= found <= middle + half, 100 * (p - found)


def _print(measured: Measured, name: str, n_tasks: int) -> None:
    domain = measured.domain
    learner, calibration = measured.base.learner(name), measured.base.header.calibration[name]
    assert isinstance(learner, HeadLearner)
    generator = torch.Generator().manual_seed(1)
    mixed = draw_tasks(domain, learner, [draw_counts(domain, generator) for _ in range(n_tasks)], n_query=15)
    before, after = calibration_errors(mixed, calibration)
    print(f"\n{domain.name}, {name}\n  ECE %, tasks of all shapes: before {before:.2f}, after {after:.2f}")
    for n_way, n_shot in SHAPES:
        tasks = draw_tasks(domain, learner, [(n_shot,) * n_way] * (n_tasks // 2), n_query=15)
        before, after = calibration_errors(tasks, calibration)
        print(f"    {n_way:2}-way {n_shot:2}-shot: before {before:.2f}, after {after:.2f}")
    for n_shot in (1, 5):
        tasks = draw_tasks(domain, learner, [(n_shot,) * 5] * n_tasks, n_query=1000)
        softmax, ours = torch.tensor([unknown_aurocs(task, calibration) for task in tasks]).mean(0).tolist()
        print(f"  AUROC %, 5-way {n_shot}-shot: softmax {softmax:.1f}, unknown score {ours:.1f}")
        _print_expected(f"5-way {n_shot}-shot", tasks, calibration)
    rest = draw_tasks(domain, learner, [draw_counts(domain, generator) for _ in range(n_tasks)], n_query=1000, seed=2)
    _print_expected("all shapes", rest, calibration)


def _print_expected(name: str, tasks: Sequence[Task], calibration: Calibration) -> None:
    ours = torch.tensor([expectation(task, calibration) for task in tasks], dtype=torch.double)
    plain = torch.tensor([plain_expectation(task) for task in tasks], dtype=torch.double)
    told = plain[~plain[:, 1].isnan()]
    print(f"  expected accuracy, {name}, {len(tasks)} tasks: {_coverage(ours)}; plain: {_coverage(told)}")


def _coverage(rows: Tensor) -> str:
    if not len(rows):
        return "none"
    covered, bias = rows.mean(0).tolist()
    return f"covered {100 * covered:.1f} %, bias {bias:+.2f} points"


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--features", type=Path, help="a folder that keeps the features between runs")
    parser.add_argument("--tasks", type=int, default=500)
    parser.add_argument("--most", type=int, help="photographs of a kind for support sets, and as many queries")
    parser.add_argument("--only", choices=("drawings", "photographs"))
    parser.add_argument("--learner", help="instead of each base model's default")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for make in (drawings, photographs):
        if arguments.only in {None, make.__name__}:
            measured = make(arguments.data, arguments.features, arguments.most)
            _print(measured, arguments.learner or measured.base.header.default_learner, arguments.tasks)


if __name__ == "__main__":
    main()
