"""What does combining deep learning and meta-learning give over either? The same Conv-4, the same data, three ways.

(a) supervised pre-training, and a linear head fitted to each task: deep learning; (b) episodes from a random start, of
ProtoNet on Omniglot and of ridge on CIFAR-FS: meta-learning; (c) half of the images in pre-training, the other half in
episodes that start from it. Every way sees the same number of training images, in order that none is favoured. Prints
mean and spread over seeds.

    python -m tests.benchmarks.article_question --data DATA --out runs/article

Interrupted, it goes on where it was; `results.json` in the folder keeps what is done, `results.md` the table.
"""

import argparse
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from service.cli.learning import decoder
from service.cli.processor import prepare_training
from service.metalearning.datasets import DATASETS, Dataset, with_rotations
from service.metalearning.evaluation import Answering, measure
from service.metalearning.pretraining import pretrain
from service.metalearning.recipe import Recipe, read_recipe
from service.metalearning.sampling import EpisodeShape
from service.metalearning.serialization import BaseModel, load_base_model
from service.metalearning.training import meta_train
from service.metalearning.training_data import TrainingData, read_training_data

WAYS = {"a": "pre-training, linear head", "b": "meta-training", "c": "both"}
HEADER = "| data | episodes | way | accuracy % | training min | adapt ms | adapted parameters |\n" + 7 * "|---" + "|\n"


@dataclass(frozen=True, slots=True)
class Subject:
    """A data set of the question.

    Attributes:
        recipe: name of the shipped recipe whose input, backbone and augmentation all ways share.
        images: that every way trains on, unless told otherwise.
    """

    recipe: str
    images: int
    shapes: tuple[EpisodeShape, ...]
    test_images: int


SUBJECTS = (
    Subject("omniglot-conv4", 600_000, (EpisodeShape(20, 1, 15),), test_images=4),
    Subject("cifar-fs-conv4", 192_000, (EpisodeShape(5, 1, 15), EpisodeShape(5, 5, 15)), test_images=10),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One way, one seed, one shape."""

    data: str
    way: str
    seed: int
    n_way: int
    n_shot: int
    images: int
    accuracy: float
    training_min: float
    adapt_ms: float
    adapted_parameters: int


def main() -> None:
    """Train and measure what is not yet done, and print the table."""
    asked = _arguments()
    prepare_training(asked.threads)
    asked.out.mkdir(parents=True, exist_ok=True)
    results = asked.out / "results.json"
    findings = [Finding(**entry) for entry in json.loads(results.read_text())] if results.exists() else []
    for subject in SUBJECTS:
        if asked.only not in {None, subject.recipe}:
            continue
        data = _Data(subject, asked.data)
        for seed in range(asked.seeds):
            for way in WAYS:
                images = round(subject.images * asked.share)
                if not any((f.data, f.way, f.seed, f.images) == (data.name, way, seed, images) for f in findings):
                    findings += _findings(subject, data, way, seed=seed, images=images, asked=asked)
                    results.write_text(json.dumps([asdict(finding) for finding in findings], indent=1))
                    print(table(findings), flush=True)
    (asked.out / "results.md").write_text(table(findings))
    print(table(findings))


def table(findings: Sequence[Finding]) -> str:
    """The findings as Markdown: mean over seeds ± standard deviation."""
    groups: dict[tuple[str, int, int, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.data, finding.n_way, finding.n_shot, finding.way), []).append(finding)
    return HEADER + "".join(_line(group) for _, group in sorted(groups.items()))


class _Data:
    """A subject's training data and test classes, read once."""

    def __init__(self, subject: Subject, root: Path) -> None:
        recipe = recipe_of(subject, seed=0, images=subject.images)
        decode = decoder(recipe.input)
        self.name = recipe.data
        self.training = TrainingData(read_training_data(recipe, root, decode).train)
        test = DATASETS[recipe.data](root, "test", decode)
        self.test: Dataset = with_rotations(test) if recipe.rotations else test


def recipe_of(subject: Subject, *, seed: int, images: int) -> Recipe:
    """The subject's recipe for this number of images, in episodes and in pre-training alike."""
    shipped = read_recipe(subject.recipe)
    shape, batch = shipped.episodes.shape, 128
    episode_images = shape.n_way * (shape.n_shot + shape.n_query)
    optimizer = "warmup_steps=50\naverage_decay=0.99\nprecision='bf16'"
    return read_recipe(
        subject.recipe,
        [
            f"seed={seed}",
            "split='train'",
            f"optimizer.steps={max(1, images // episode_images)}",
            "optimizer.warmup_steps=0\noptimizer.average_decay=0.99\noptimizer.precision='bf16'",
            f"pretraining.batch_images={batch}\npretraining.rotations=false",
            f"pretraining.test_images={subject.test_images}\npretraining.test_every_steps=1000000",
            f"[pretraining.optimizer]\nmethod='adam'\nlr=3e-3\nsteps={max(50, images // batch)}\n{optimizer}",
            "[offers.linear]",
        ],
    )


def _findings(
    subject: Subject, data: _Data, way: str, *, seed: int, images: int, asked: argparse.Namespace
) -> Iterator[Finding]:
    """Train one way with one seed and measure it on every shape."""
    folder = asked.out / f"{data.name}-{way}-{seed}-{images}"
    recipe = recipe_of(subject, seed=seed, images=images // (2 if way == "c" else 1))
    base = _trained(way, recipe, data.training, folder)
    learner = base.learner("linear" if way == "a" else recipe.learner.name)
    provenance = base.header.provenance
    training_s = provenance["training_s"] + provenance.get("start", {}).get("training_s", 0)
    for shape in subject.shapes:
        measured = measure(Answering(learner, base.header.scaling), data.test, shape, episodes=asked.episodes)
        yield Finding(
            data=data.name,
            way=way,
            seed=seed,
            n_way=shape.n_way,
            n_shot=shape.n_shot,
            images=images,
            accuracy=measured.accuracy,
            training_min=training_s / 60,
            adapt_ms=measured.adapt_ms,
            adapted_parameters=shape.n_way * (base.header.n_features + 1),
        )


def _trained(way: str, recipe: Recipe, data: TrainingData, folder: Path) -> BaseModel:
    if way == "b":
        return load_base_model(meta_train(recipe, data, folder / "meta").path)
    pretrained = load_base_model(pretrain(recipe, data, folder / "pretrained").path)
    if way == "a":
        return pretrained
    return load_base_model(meta_train(recipe, data, folder / "meta", start=pretrained).path)


def _line(group: Sequence[Finding]) -> str:
    first = group[0]
    accuracies = [finding.accuracy for finding in group]
    spread = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
    cells: Mapping[str, object] = {
        "data": first.data,
        "episodes": f"{first.n_way}-way {first.n_shot}-shot",
        "way": f"({first.way}) {WAYS[first.way]}",
        "accuracy": f"{statistics.mean(accuracies):.2f} ± {spread:.2f} ({len(group)} seeds)",
        "training": f"{statistics.mean(finding.training_min for finding in group):.1f}",
        "adapt": f"{statistics.median(finding.adapt_ms for finding in group):.1f}",
        "adapted": first.adapted_parameters,
    }
    return "| " + " | ".join(str(cell) for cell in cells.values()) + " |\n"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets' archives")
    parser.add_argument("--out", type=Path, default=Path("runs/article"), help="folder of the runs")
    parser.add_argument("--only", choices=[subject.recipe for subject in SUBJECTS], help="one data set, by its recipe")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--share", type=float, default=1.0, help="of the training images that each way sees")
    parser.add_argument("--episodes", type=int, default=1000, help="test episodes for each figure")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
