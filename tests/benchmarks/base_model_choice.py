"""Which base model a task gets that names none, and what that choice costs against the best shipped one.

    python -m tests.benchmarks.base_model_choice --data ../shared/data [--split val]

Five domains: Omniglot's test characters, the same white on black, the same as photographs of pen drawings
(`pen_photographs.py`), Grocery photographs (support from `train_`, query from `test_`), and the same in grey. From each
a pool of classes is drawn, and from the pool 5-way episodes. Every shipped base model answers each with its
default learner, every query by itself, and the service's own code chooses one from the support images alone.

Regret is the accuracy of the base model that is best on the domain less that of the choices, in points. With `--split
val` the domains come from Omniglot's validation characters and Tiny-ImageNet's validation classes: whatever is tuned is
tuned on those.
"""

import argparse
import io
import random
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from service.imaging import Decoded, decode
from service.metalearning.learners.base import head_logits
from service.metalearning.learners.head_learner import HeadLearner
from service.metalearning.preprocessing import scaled
from service.metalearning.serialization import BaseModel, as_stored, load_base_model
from service.persistence.records import ClassCount, TaskSnapshot
from service.usecases.base_models import SHIPPED, BaseModels
from service.usecases.plans import chosen_base_model
from tests.benchmarks.http_accuracy import Drawn, Grocery, LabelledBytes, Omniglot
from tests.benchmarks.pen_photographs import pen_photograph

MAX_PIXELS = 100_000_000
N_WAY = 5
N_QUERY = 6
SHOTS = (1, 5)

Change = Callable[[bytes, np.random.Generator], bytes]


@dataclass(frozen=True, slots=True, eq=False)
class ReadImage:
    """What is kept of an image: its features under each base model by id, and how it looks."""

    features: Mapping[str, Tensor]
    looks_drawn: bool


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """The images of each class that episodes are drawn from."""

    support: tuple[tuple[ReadImage, ...], ...]
    query: tuple[tuple[ReadImage, ...], ...]


class TinyImageNet:
    """Classes of Tiny-ImageNet's validation part."""

    def __init__(self, data: Path) -> None:
        self._archive = zipfile.ZipFile(data / "tiny_imagenet.zip")
        self._files: dict[str, list[str]] = defaultdict(list)
        for name in self._archive.namelist():
            if name.startswith("val/") and name.endswith(".JPEG"):
                self._files[str(PurePosixPath(name).parent)].append(name)

    def draw(self, rng: random.Random, *, n_way: int, n_shot: int, n_query: int) -> Drawn:
        support: list[LabelledBytes] = []
        query: list[LabelledBytes] = []
        for name in rng.sample(sorted(self._files), min(n_way, len(self._files))):
            images = [(name, self._archive.read(file)) for file in rng.sample(self._files[name], n_shot + n_query)]
            support += images[:n_shot]
            query += images[n_shot:]
        return Drawn(support, query)


def as_it_is(data: bytes, _: np.random.Generator) -> bytes:
    """The file unchanged."""
    return data


def inverted(data: bytes, _: np.random.Generator) -> bytes:
    """White on black."""
    return _png(ImageOps.invert(_opened(data).convert("L")))


def in_grey(data: bytes, _: np.random.Generator) -> bytes:
    """Without its colours."""
    return _png(_opened(data).convert("L"))


def in_ink(data: bytes, rng: np.random.Generator) -> bytes:
    """A photograph of it on paper."""
    return pen_photograph(_opened(data), rng)


DOMAINS: Mapping[str, tuple[bool, Change]] = {
    "omniglot": (True, as_it_is),
    "inverted drawings": (True, inverted),
    "pen photographs": (True, in_ink),
    "photographs": (False, as_it_is),
    "grey photographs": (False, in_grey),
}
"""Whether the domain is made of drawings, and how."""


def read_pool(drawn: Drawn, change: Change, models: Sequence[BaseModel], rng: np.random.Generator) -> Pool:
    """The features of all images of a pool."""

    def read(images: Sequence[LabelledBytes]) -> tuple[tuple[ReadImage, ...], ...]:
        classes: defaultdict[str, list[ReadImage]] = defaultdict(list)
        for label, data in images:
            classes[label].append(read_image(change(data, rng), models))
        return tuple(map(tuple, classes.values()))

    return Pool(read(drawn.support), read(drawn.query))


def read_image(data: bytes, models: Sequence[BaseModel]) -> ReadImage:
    """One file as the service sees it."""
    decoded = decode(data, [model.header.input for model in models], max_pixels=MAX_PIXELS)
    return ReadImage(dict(_features(decoded, models)), decoded.looks_drawn)


def _features(decoded: Decoded, models: Sequence[BaseModel]) -> Iterator[tuple[str, Tensor]]:
    for model, array in zip(models, decoded.arrays, strict=True):
        with torch.inference_mode():
            images = scaled(torch.from_numpy(np.array(array))[None], model.header.scaling)
            yield model.header.id, as_stored(model.network.backbone(images))


def measure(
    pool: Pool, models: Sequence[BaseModel], known: BaseModels, n_shot: int, *, episodes: int, seed: int
) -> tuple[dict[str, list[float]], list[str]]:
    """Accuracy of each base model on each episode, in percent, and the ids that were chosen."""
    rng = random.Random(seed)
    accuracies: dict[str, list[float]] = {model.header.id: [] for model in models}
    chosen: list[str] = []
    for _ in range(episodes):
        classes = rng.sample(range(len(pool.support)), N_WAY)
        support = [image for index in classes for image in rng.sample(pool.support[index], n_shot)]
        query = [image for index in classes for image in pool.query[index]]
        labels = torch.tensor([place for place, index in enumerate(classes) for _ in pool.query[index]])
        for model in models:
            accuracies[model.header.id].append(_accuracy(model, support, query, labels, n_shot))
        chosen.append(choice(support, n_shot, known))
    return accuracies, chosen


def choice(support: Sequence[ReadImage], n_shot: int, known: BaseModels) -> str:
    """The id of the base model that the service chooses."""
    counts = tuple(ClassCount(str(index), n_shot) for index in range(N_WAY))
    snapshot = TaskSnapshot(None, None, "balanced", counts, tuple(image.looks_drawn for image in support))
    return chosen_base_model(snapshot, known)[0].id


def _accuracy(
    model: BaseModel, support: Sequence[ReadImage], query: Sequence[ReadImage], labels: Tensor, n_shot: int
) -> float:
    learner = model.learner(model.header.default_learner)
    assert isinstance(learner, HeadLearner)
    rows = torch.cat([image.features[model.header.id] for image in support])
    of_rows = torch.arange(N_WAY).repeat_interleave(n_shot)
    with torch.no_grad():
        head = learner.head(rows, of_rows)
        asked = torch.cat([image.features[model.header.id] for image in query])
        return 100 * float((head_logits(head, asked).argmax(1) == labels).float().mean())


def show(domain: str, n_shot: int, accuracies: Mapping[str, Sequence[float]], chosen: Sequence[str]) -> float:
    """Print a line of the table; the regret."""
    means = {id_: float(np.mean(values)) for id_, values in accuracies.items()}
    of_choice = float(np.mean([accuracies[id_][episode] for episode, id_ in enumerate(chosen)]))
    regret = max(means.values()) - of_choice
    shares = ", ".join(f"{id_} {100 * chosen.count(id_) / len(chosen):.0f} %" for id_ in means)
    figures = "  ".join(f"{mean:15.2f}" for mean in means.values())
    print(f"{domain:<20}{n_shot} shot  {figures}  {of_choice:7.2f}  {regret:6.2f}   {shares}", flush=True)
    return regret


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--split", choices=["val", "test"], default="test")
    parser.add_argument("--domains", nargs="+", choices=list(DOMAINS), default=list(DOMAINS))
    parser.add_argument("--classes", type=int, default=40, help="classes in a pool")
    parser.add_argument("--episodes", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Print the table."""
    told = arguments()
    models = [load_base_model(path) for path in sorted(SHIPPED.glob("*.safetensors"))]
    known = BaseModels([SHIPPED])
    photographs = Grocery(told.data) if told.split == "test" else TinyImageNet(told.data)
    drawings = Omniglot(told.data, told.split)
    columns = "  ".join(f"{model.header.id:>15}" for model in models)
    print(f"{'domain':<20}{'':<6}  {columns}   choice  regret   chosen", flush=True)
    regrets = []
    for domain in told.domains:
        is_drawn, change = DOMAINS[domain]
        rng = np.random.default_rng(told.seed)
        source = drawings if is_drawn else photographs
        drawn = source.draw(random.Random(told.seed), n_way=told.classes, n_shot=max(SHOTS), n_query=N_QUERY)
        pool = read_pool(drawn, change, models, rng)
        for n_shot in SHOTS:
            accuracies, chosen = measure(pool, models, known, n_shot, episodes=told.episodes, seed=told.seed)
            regrets.append(show(domain, n_shot, accuracies, chosen))
    print(f"mean regret {np.mean(regrets):.2f} points, largest {max(regrets):.2f}")


def _opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


if __name__ == "__main__":
    main()
