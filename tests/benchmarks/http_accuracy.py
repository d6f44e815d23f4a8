"""Accuracy and consistency over HTTP: what a client gets who posts each image alone.

    python tests/benchmarks/http_accuracy.py --data ../shared/data
    python tests/benchmarks/http_accuracy.py --data ../shared/data --url http://127.0.0.1:8000

Episodes come from Omniglot's test characters (the split of Vinyals et al., each rotation a class of its own) and from
the Grocery Store photographs (support from `train_`, query from `test_` files). Starts a service of its own where no
--url is given. Exits with 1 where a floor is missed: where the mean of the episodes is below it, whatever the interval.
"""

import argparse
import contextlib
import io
import json
import math
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from PIL import Image

from service.client import Client, Prediction, Task, TaskOptions

MAX_DIFFERENCE = 1e-4
BATCH_IMAGES = 64
CONSISTENCY_EPISODES = 5
START_S = 60.0

LabelledBytes = tuple[str, bytes]


@dataclass(frozen=True)
class Drawn:
    """An episode as bytes."""

    support: list[LabelledBytes]
    query: list[LabelledBytes]


class Episodes(Protocol):
    """Where episodes come from."""

    def draw(self, rng: random.Random, *, n_way: int, n_shot: int, n_query: int) -> Drawn: ...


class Omniglot:
    """A part of the split of Vinyals et al. 2016; the four rotations of a character are four classes."""

    def __init__(self, data: Path, part: str = "test") -> None:
        split = json.loads((data / "splits" / "omniglot_vinyals" / f"{part}.json").read_text())
        self._archives = {half: zipfile.ZipFile(data / f"images_{half}.zip") for half in split}
        files: dict[tuple[str, str], list[str]] = defaultdict(list)
        for half, archive in self._archives.items():
            for name in archive.namelist():
                if name.endswith(".png"):
                    files[half, name.rpartition("/")[0]].append(name)
        characters = [
            (half, f"images_{half}/{alphabet}/{character}")
            for half, alphabets in split.items()
            for alphabet, names in alphabets.items()
            for character in names
        ]
        self._classes = [(half, files[half, folder], angle) for half, folder in characters for angle in range(4)]

    def draw(self, rng: random.Random, *, n_way: int, n_shot: int, n_query: int) -> Drawn:
        support: list[LabelledBytes] = []
        query: list[LabelledBytes] = []
        for index, (part, names, angle) in enumerate(rng.sample(self._classes, n_way)):
            images = [self._image(part, name, angle) for name in rng.sample(names, n_shot + n_query)]
            support += [(f"character {index}", image) for image in images[:n_shot]]
            query += [(f"character {index}", image) for image in images[n_shot:]]
        return Drawn(support, query)

    def _image(self, part: str, name: str, angle: int) -> bytes:
        drawing = Image.open(io.BytesIO(self._archives[part].read(name))).convert("L").rotate(90 * angle)
        file = io.BytesIO()
        drawing.save(file, "PNG")
        return file.getvalue()


class Grocery:
    """81 kinds of groceries, photographed by phone: Klasson et al. 2019."""

    def __init__(self, data: Path) -> None:
        self._archive = zipfile.ZipFile(data / "grocery_store_84.zip")
        self._files: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for name in self._archive.namelist():
            kind, _, file = name.partition("/")
            if file.endswith(".jpg"):
                self._files[kind][file.partition("_")[0]].append(name)

    def draw(self, rng: random.Random, *, n_way: int, n_shot: int, n_query: int) -> Drawn:
        kinds = [kind for kind, f in self._files.items() if len(f["train"]) >= n_shot and len(f["test"]) >= n_query]
        chosen = rng.sample(sorted(kinds), n_way)
        return Drawn(self._some(rng, chosen, "train", n_shot), self._some(rng, chosen, "test", n_query))

    def _some(self, rng: random.Random, kinds: Sequence[str], side: str, count: int) -> list[LabelledBytes]:
        return [
            (kind, self._archive.read(name)) for kind in kinds for name in rng.sample(self._files[kind][side], count)
        ]


@dataclass(frozen=True)
class Trial:
    """One line of the table: what to measure, and the accuracy that it must reach."""

    name: str
    episodes: int
    n_way: int
    n_shot: int
    floor: float | None
    base_model: str
    learner: str | None = None
    steps: int | None = None
    n_query: int = 3


def measure(client: Client, trial: Trial, source: Episodes, seed: int) -> bool:
    """Run a trial and print its line; whether it reaches its floor."""
    rng = random.Random(seed)
    accuracies: list[float] = []
    create_ms: list[float] = []
    predict_ms: list[float] = []
    for _ in range(trial.episodes):
        episode = source.draw(rng, n_way=trial.n_way, n_shot=trial.n_shot, n_query=trial.n_query)
        with timed(create_ms):
            task = make_task(client, trial, episode)
        hits = 0
        for label, image in episode.query:
            with timed(predict_ms):
                hits += client.predict(task, image).label == label
        accuracies.append(100 * hits / len(episode.query))
        client.delete_task(task)
    accuracy, interval = statistics.fmean(accuracies), interval_95(accuracies)
    reached = trial.floor is None or accuracy >= trial.floor
    floor = "" if trial.floor is None else f"floor {trial.floor:.1f} {'reached' if reached else 'MISSED'}"
    latencies = f"create {statistics.median(create_ms):6.1f} ms  predict {statistics.median(predict_ms):5.1f} ms"
    print(
        f"{trial.name:<24}{trial.n_way:>3}-way {trial.n_shot}-shot {trial.episodes:>5} episodes"
        f"  {accuracy:6.2f} ± {interval:.2f} %  {latencies}  {floor}",
        flush=True,
    )
    return reached


def make_task(client: Client, trial: Trial, episode: Drawn) -> Task:
    """A ready task for an episode."""
    options: TaskOptions = {"base_model": trial.base_model, "learner": trial.learner}
    task = client.wait_until_ready(client.create_task(trial.name, episode.support, wait_s=60, **options))
    if trial.steps is not None and client.version(task, 1).settings["steps"] != trial.steps:
        client.adapt(task, steps=trial.steps, wait_s=60)
        task = client.wait_until_ready(task)
    return task


def consistent(client: Client, trial: Trial, source: Episodes, seed: int) -> bool:
    """Post the same queries alone, in a batch of 64 and in another order; print the largest difference."""
    rng = random.Random(seed)
    worst = {"batch of 64": 0.0, "other order": 0.0}
    for _ in range(CONSISTENCY_EPISODES):
        episode = source.draw(rng, n_way=trial.n_way, n_shot=trial.n_shot, n_query=trial.n_query)
        task = make_task(client, trial, episode)
        images = [image for _, image in episode.query]
        alone = [probabilities(client.predict(task, image)) for image in images]
        batch = (images * BATCH_IMAGES)[:BATCH_IMAGES]
        together = [probabilities(prediction) for prediction in client.predict(task, batch)]
        shuffled = rng.sample(range(len(images)), len(images))
        reordered = [probabilities(item) for item in client.predict(task, [images[place] for place in shuffled])]
        worst["batch of 64"] = max(worst["batch of 64"], difference(alone, together[: len(images)]))
        worst["other order"] = max(worst["other order"], difference([alone[place] for place in shuffled], reordered))
        client.delete_task(task)
    shown = ", ".join(f"{name} {value:.1e}" for name, value in worst.items())
    kept = max(worst.values()) <= MAX_DIFFERENCE
    print(f"{trial.name:<24}largest difference from posted alone: {shown}  {'' if kept else 'TOO LARGE'}", flush=True)
    return kept


def probabilities(prediction: Prediction) -> dict[str, float]:
    """Probability by class."""
    return {score.label: score.probability for score in prediction.scores}


def difference(some: Sequence[dict[str, float]], others: Sequence[dict[str, float]]) -> float:
    """The largest absolute difference of two probabilities of the same class and image."""
    return max(abs(a[label] - b[label]) for a, b in zip(some, others, strict=True) for label in a)


def interval_95(values: Sequence[float]) -> float:
    """Half width of the 95 % interval of the mean."""
    return 1.96 * statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.inf


@contextlib.contextmanager
def timed(into_ms: list[float]) -> Iterator[None]:
    """Append the milliseconds that the block took."""
    start = time.perf_counter()
    yield
    into_ms.append(1000 * (time.perf_counter() - start))


@contextlib.contextmanager
def started_service() -> Iterator[str]:
    """The address of a service started for this run, with nothing in it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"HANDFUL_DATA_DIR": folder, "HANDFUL_PORT": str(port), "HANDFUL_DRAIN_S": "0"}
        command = [sys.executable, "-m", "service", "serve"]
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until_ready(url, process)
            yield url
        finally:
            process.terminate()
            process.wait(timeout=30)


def wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    """Return once the service is ready; end the program if it never is."""
    deadline = time.monotonic() + START_S
    with Client(url) as client:
        while not client.ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the service did not start")
            time.sleep(0.2)


def trials(told: argparse.Namespace) -> tuple[list[Trial], list[Trial]]:
    """The trials on drawings and those on photographs."""
    drawn = told.drawings
    n, n_20 = told.episodes, max(1, told.episodes // 4)
    drawings = [
        Trial("omniglot", n, 5, 1, told.floor, drawn),
        Trial("omniglot anil", n, 5, 1, told.floor_steps, drawn, "anil", told.steps),
        Trial("omniglot maml", n, 5, 1, told.floor_steps, drawn, "maml", told.steps),
        Trial("omniglot", n_20, 20, 1, None, drawn),
        Trial("omniglot anil", n_20, 20, 1, None, drawn, "anil", told.steps),
        Trial("omniglot maml", n_20, 20, 1, None, drawn, "maml", told.steps),
    ]
    n_photo, n_5_shot = told.photo_episodes, max(1, told.photo_episodes // 2)
    photographs = [
        Trial("grocery", n_photo, 5, 1, told.floor_1_shot, told.photographs),
        Trial("grocery", n_5_shot, 5, 5, told.floor_5_shot, told.photographs),
    ]
    return drawings, photographs


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--url", help="a running service; without it one is started")
    parser.add_argument("--api-key", default=os.environ.get("HANDFUL_API_KEY"))
    parser.add_argument("--only", choices=["drawings", "photographs"], help="half of the trials")
    parser.add_argument("--drawings", default="omniglot-conv4", help="base model for drawings")
    parser.add_argument("--photographs", default="photo", help="base model for photographs")
    parser.add_argument("--episodes", type=int, default=200, help="of Omniglot; a quarter of it for 20-way")
    parser.add_argument("--photo-episodes", type=int, default=300, help="of Grocery; half of it for 5-shot")
    parser.add_argument("--steps", type=int, default=5, help="gradient steps of ANIL and MAML")
    parser.add_argument("--floor", type=float, default=97.0, help="percent, Omniglot 5-way 1-shot")
    parser.add_argument("--floor-steps", type=float, default=96.0, help="percent, the same with ANIL and MAML")
    parser.add_argument("--floor-1-shot", type=float, default=75.0, help="percent, Grocery 5-way 1-shot")
    parser.add_argument("--floor-5-shot", type=float, default=88.0, help="percent, Grocery 5-way 5-shot")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main() -> int:
    """Run all trials; the exit code."""
    told = arguments()
    drawings, photographs = trials(told)
    halves: list[tuple[Episodes, list[Trial]]] = []
    if told.only != "photographs":
        halves.append((Omniglot(told.data), drawings))
    if told.only != "drawings":
        halves.append((Grocery(told.data), photographs))
    service = contextlib.nullcontext(told.url) if told.url else started_service()
    with service as url, Client(url, told.api_key) as client:
        results = [measure(client, trial, source, told.seed) for source, part in halves for trial in part]
        checked = [(trial, source) for source, part in halves for trial in part if trial.n_way == 5]
        results += [consistent(client, trial, source, told.seed) for trial, source in checked]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
