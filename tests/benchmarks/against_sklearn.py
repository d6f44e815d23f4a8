"""What the base model `photo` gives over a frozen encoder with scikit-learn, on Grocery photographs.

    python -m tests.benchmarks.against_sklearn --data ../shared/data [--pooled FILE] [--episodes 300]

All columns see the same pixels through the same three networks, and answer the same episodes:

- scikit-learn: the published networks' top features, of unit length, and LogisticRegression(C=10);
- without learning: the published networks, and features and head of `photo`, neither centred nor projected;
- Handful: `photo` as shipped, with its default learner, its calibration and its unknown score; the others tell the
  unknown by softmax.

Support images come from the files named `train_`, queries from those named `test_`. None was used to make or fit
anything, but these figures were looked at between choices, as `photo` tells. An interval is that of the mean over
episodes, 95 %. The difference is Handful's to scikit-learn, by episode.
"""

import argparse
import time
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path, PurePosixPath

import numpy as np
import safetensors.torch
import torch

# scikit-learn has no types
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]
from sklearn.metrics import roc_auc_score  # type: ignore[import-untyped]
from torch import Tensor
from torch.nn import functional as F

from service.imaging import decode
from service.metalearning.calibration import Calibration
from service.metalearning.ensemble import Ensemble
from service.metalearning.learners.base import TaskParameters
from service.metalearning.learners.head_learner import HeadLearner
from service.metalearning.photo import photo_backbone
from service.metalearning.preprocessing import scaled
from service.metalearning.serialization import BaseModel, load_base_model
from service.metalearning.trust.answers import calibrated, unknown_scores, with_unknown
from tests.benchmarks.grocery import N_QUERY, PHOTO, Kinds, MakesHeads, interval_95, unbalanced_tasks

N_WAY = 5
BINS = 15
N_TASKS = 200
TOP_FEATURES = 1280


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One way to make a classifier."""

    kinds: Kinds
    learner: MakesHeads
    calibration: Calibration | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Pooled:
    """What each of the three networks pooled of each photograph, its kind, and whether it is a query.

    Attributes:
        published: by the networks as published.
        learned: by those of `photo`.
    """

    published: tuple[Tensor, ...]
    learned: tuple[Tensor, ...]
    kind: Tensor
    is_query: Tensor


@dataclass(frozen=True, slots=True)
class Answers:
    """Figures of one episode: accuracy, calibration and how well the unknown are told, all in percent."""

    accuracy: float
    confidences: Tensor
    is_right: Tensor
    unknown_auroc: float


class ScikitLearn:
    """LogisticRegression(C=10) as a head."""

    def head(self, features: Tensor, labels: Tensor) -> TaskParameters:
        """Its coefficients; of two classes the first has none."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of iterations that end early
            model = LogisticRegression(C=10).fit(features.numpy(), labels.numpy())
        weight, bias = (torch.from_numpy(np.asarray(part)).float() for part in (model.coef_, model.intercept_))
        if len(weight) == 1:
            weight, bias = torch.cat([torch.zeros_like(weight), weight]), torch.cat([torch.zeros_like(bias), bias])
        return {"head.weight": weight, "head.bias": bias}


def read_pooled(base: BaseModel, backbone: Ensemble, data: Path) -> Pooled:
    """Every photograph of Grocery through the networks, as published and as learned."""
    published, _ = photo_backbone()
    rows: list[list[Tensor]] = []
    kinds: dict[str, int] = {}
    labels, uses = [], []
    with zipfile.ZipFile(data / "grocery_store_84.zip") as archive:
        for path in sorted(archive.namelist()):
            use = PurePosixPath(path).name.partition("_")[0]
            if path.endswith(".jpg") and use in {"train", "test"}:
                pixels = decode(archive.read(path), [base.header.input], max_pixels=10**8).arrays[0]
                image = scaled(torch.from_numpy(pixels)[None], base.header.scaling)
                rows.append([*published.pooled(image), *backbone.pooled(image)])
                labels.append(kinds.setdefault(str(PurePosixPath(path).parent), len(kinds)))
                uses.append(use == "test")
    parts = tuple(torch.cat(parts) for parts in zip(*rows, strict=True))
    n_members = len(backbone.networks)
    return Pooled(parts[:n_members], parts[n_members:], torch.tensor(labels), torch.tensor(uses))


def columns(base: BaseModel, backbone: Ensemble, pooled: Pooled) -> dict[str, Column]:
    """The three ways, with the features that each takes."""
    learner = base.learner(base.header.default_learner)
    assert isinstance(learner, HeadLearner)
    tops = [F.normalize(part[:, :TOP_FEATURES], dim=1) for part in pooled.published]
    plain = [
        F.normalize(part, dim=1)
        for member, lite in zip(pooled.published, backbone.networks, strict=True)
        for part in torch.split(member, lite.parts, dim=1)
    ]
    learned = backbone.projected(backbone.joined(pooled.learned))
    return {
        "scikit-learn": Column(_by_kind(F.normalize(torch.cat(tops, 1), dim=1), pooled), ScikitLearn()),
        "without learning": Column(_by_kind(F.normalize(torch.cat(plain, 1), dim=1), pooled), learner),
        "Handful": Column(_by_kind(learned, pooled), learner, base.header.calibration.get(base.header.default_learner)),
    }


def episode_answers(column: Column, n_shot: int, *, episodes: int) -> list[Answers]:
    """Figures of 5-way episodes; the images of five more kinds are the unknown."""
    generator = torch.Generator().manual_seed(0)
    able = [index for index, rows in enumerate(column.kinds.support) if len(rows) >= n_shot]
    found = []
    for _ in range(episodes):
        order = torch.randperm(len(able), generator=generator)[: 2 * N_WAY].tolist()
        chosen = [able[index] for index in order]
        support = [_drawn(column.kinds.support[index], n_shot, generator) for index in chosen[:N_WAY]]
        query = [_drawn(column.kinds.query[index], N_QUERY, generator) for index in chosen]
        found.append(_answered(column, support, query[:N_WAY], query[N_WAY:]))
    return found


def calibration_error(answers: list[Answers]) -> float:
    """Expected calibration error over all answers, in percent, by bins of equal width."""
    confidence = torch.cat([answer.confidences for answer in answers])
    is_right = torch.cat([answer.is_right for answer in answers]).float()
    of_bin = (confidence * BINS).long().clamp(max=BINS - 1)
    gaps = torch.zeros(BINS).index_add_(0, of_bin, is_right - confidence)
    return float(100 * gaps.abs().sum() / len(confidence))


def _answered(column: Column, support: list[Tensor], query: list[Tensor], unknown: list[Tensor]) -> Answers:
    labels = torch.arange(N_WAY).repeat_interleave(len(support[0]))
    head = column.learner.head(torch.cat(support), labels)
    if column.calibration is not None:
        head = with_unknown(head, column.calibration, torch.cat(support), labels)
        head = calibrated(head, column.calibration, torch.cat(support), labels)
    truth = torch.arange(N_WAY).repeat_interleave(torch.tensor([len(rows) for rows in query]))
    images = torch.cat([*query, *unknown])
    confidence, answer = F.linear(images, head["head.weight"], head["head.bias"]).softmax(dim=1).max(dim=1)
    is_right = answer[: len(truth)] == truth
    is_unknown = torch.arange(len(images)) >= len(truth)
    scores = unknown_scores(head, images)
    auroc = 100 * float(roc_auc_score(is_unknown.numpy(), (-confidence if scores is None else scores).numpy()))
    return Answers(100 * float(is_right.float().mean()), confidence[: len(truth)], is_right, auroc)


def _by_kind(features: Tensor, pooled: Pooled) -> Kinds:
    def rows(*, is_query: bool) -> tuple[Tensor, ...]:
        wanted = pooled.is_query == is_query
        return tuple(features[(pooled.kind == kind) & wanted] for kind in range(int(pooled.kind.max()) + 1))

    return Kinds(rows(is_query=False), rows(is_query=True))


def _drawn(rows: Tensor, n: int, generator: torch.Generator) -> Tensor:
    return rows[torch.randperm(len(rows), generator=generator)[:n]]


def _kept(base: BaseModel, backbone: Ensemble, data: Path, file: Path | None) -> Pooled:
    """The pooled features, kept in a file if one is named."""
    if file is not None and file.exists():
        tensors = safetensors.torch.load_file(file)
        published, learned = (
            tuple(tensors[f"{of}.{index}"].float() for index in range(len(backbone.networks)))
            for of in ("published", "learned")
        )
        return Pooled(published, learned, tensors["kind"], tensors["is_query"])
    pooled = read_pooled(base, backbone, data)
    if file is not None:
        tensors = {f"published.{index}": part for index, part in enumerate(pooled.published)}
        tensors |= {f"learned.{index}": part for index, part in enumerate(pooled.learned)}
        safetensors.torch.save_file({**tensors, "kind": pooled.kind, "is_query": pooled.is_query}, file)
    return pooled


def _mean(values: list[float]) -> str:
    tensor = torch.tensor(values)
    return f"{tensor.mean():.2f} ± {interval_95(tensor):.2f}"


def episode_rows(ways: Mapping[str, Column], episodes: int) -> dict[str, list[str]]:
    """Accuracy, unknown AUROC and calibration error of every column, and the difference to scikit-learn."""
    rows = {}
    for n_shot in (1, 5):
        answers = [episode_answers(column, n_shot, episodes=episodes) for column in ways.values()]
        for name, pick in FIGURES.items():
            values = [[pick(answer) for answer in of_column] for of_column in answers]
            gain = [ours - theirs for ours, theirs in zip(values[-1], values[0], strict=True)]
            rows[f"{name}, 5-way {n_shot}-shot, %"] = [*map(_mean, values), _mean(gain)]
        errors = [calibration_error(of_column) for of_column in answers]
        rows[f"ECE, 5-way {n_shot}-shot, %"] = [*(f"{error:.1f}" for error in errors), f"{errors[-1] - errors[0]:+.1f}"]
    return rows


FIGURES: Mapping[str, Callable[[Answers], float]] = {
    "accuracy": lambda answer: answer.accuracy,
    "unknown AUROC": lambda answer: answer.unknown_auroc,
}


def unbalanced_rows(ways: Mapping[str, Column]) -> dict[str, list[str]]:
    """Recall of the small class and balanced accuracy of 8 against 500 of 25 kinds."""
    tasks = [
        list(unbalanced_tasks(column.learner, column.kinds, few=8, many=500, n_kinds=25, draws=1))
        for column in ways.values()
    ]
    small = [[task.small for task in of_column] for of_column in tasks]
    both = [[task.accuracy for task in of_column] for of_column in tasks]
    return {
        "recall of 8 against 500, %": [*map(_mean, small), ""],
        "balanced accuracy of 8 against 500, %": [*map(_mean, both), ""],
    }


def cost_rows(base: BaseModel, ways: Mapping[str, Column]) -> dict[str, list[str]]:
    """Milliseconds of one core for a head and the networks, without decoding, and the bytes of many tasks."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, base.header.input.side_px, base.header.input.side_px, generator=generator)
    network_ms = _median_ms(lambda: base.network.backbone(image))
    labels = torch.arange(N_WAY).repeat_interleave(5)
    heads_ms, sizes = [], []
    for column in ways.values():
        support = torch.cat([rows[:5] for rows in column.kinds.support if len(rows) >= 5][:N_WAY])
        heads_ms.append(_median_ms(partial(column.learner.head, support, labels)))
        head = column.learner.head(support, labels)
        sizes.append(N_TASKS * sum(tensor.nbytes for tensor in head.values()) / 2**20)
    return {
        "adapt 5 x 5 images, ms of CPU time": [*(f"{25 * network_ms + ms:.0f}" for ms in heads_ms), ""],
        "of it the head, ms of CPU time": [*(f"{ms:.1f}" for ms in heads_ms), ""],
        "predict one image, ms of CPU time": [*(f"{network_ms:.0f}" for _ in ways), ""],
        f"heads of {N_TASKS} tasks, MiB": [*(f"{size:.0f}" for size in sizes), ""],
    }


def _median_ms(work: Callable[[], object], times: int = 7) -> float:
    work()
    stamps = [time.thread_time()]
    for _ in range(times):
        work()
        stamps.append(time.thread_time())
    return 1000 * sorted(after - before for before, after in pairwise(stamps))[times // 2]


def main() -> None:
    """Print the table, in Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of grocery_store_84.zip")
    parser.add_argument("--pooled", type=Path, help="a file that keeps what the networks gave between runs")
    parser.add_argument("--episodes", type=int, default=300)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    base = load_base_model(PHOTO)
    backbone = base.network.backbone
    assert isinstance(backbone, Ensemble)
    with torch.inference_mode():
        ways = columns(base, backbone, _kept(base, backbone, arguments.data, arguments.pooled))
        print(f"| | {' | '.join(ways)} | difference |\n|---|{'---|' * (len(ways) + 1)}", flush=True)
        _print_rows(episode_rows(ways, arguments.episodes))
        _print_rows(cost_rows(base, ways))
        _print_rows(unbalanced_rows(ways))


def _print_rows(rows: Mapping[str, list[str]]) -> None:
    for name, cells in rows.items():
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
