"""Fit what makes a base model's answers trustworthy: `python -m service.cli.calibrate CHECKPOINT --data DIR`.

For maintainers, after every change of a base model. The constants go into the checkpoint's header, one set for each
offered learner that adapts the head alone. Validation classes only: Omniglot's for drawings; for photographs those of
Tiny-ImageNet and CIFAR-FS, and drawn characters, so that the constants do not rest on one kind of image. Both models
take about two minutes on an idle core.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.learning import decoder
from service.cli.output import say

if TYPE_CHECKING:
    from torch import Tensor

    from service.metalearning.datasets import Dataset
    from service.metalearning.serialization import BaseModel

IMAGES_OF_A_KIND = 30
DRAWN_KINDS = 30
DRAWN_IMAGES = 12
PASS_IMAGES = 64


def calibrate(
    checkpoint: Annotated[Path, typer.Argument(help="the base model's file; its header is changed")],
    data: Annotated[Path, typer.Option(help="folder of the data sets")],
    features: Annotated[Path | None, typer.Option(help="a file that keeps the features of these very weights")] = None,
    episodes: Annotated[int, typer.Option(min=20, help="tasks of each data set")] = 300,
    learners: Annotated[list[str] | None, typer.Option("--learner", help="only this one; can be given again")] = None,
) -> None:
    """Fit the constants and write them into the checkpoint."""
    import torch  # noqa: PLC0415  # slow to import

    from service.metalearning.learners.closed_form import HeadLearner  # noqa: PLC0415
    from service.metalearning.serialization import load_base_model, save_base_model  # noqa: PLC0415
    from service.metalearning.trust.fitting import fit  # noqa: PLC0415

    torch.set_num_threads(1)
    base = load_base_model(checkpoint)
    datasets = _features(base, data, features)
    found = dict(base.header.calibration)
    for name in learners or base.header.learners:
        learner = base.learner(name)
        if isinstance(learner, HeadLearner) and learner.adapts == "head":
            say(f"fitting {name} on {episodes} tasks of each data set")
            found[name] = fit(learner, datasets, episodes=episodes)
    header = replace(base.header, calibration=found)
    save_base_model(checkpoint, base.network, header, learned=base.learned)
    typer.echo(checkpoint)


def _features(base: "BaseModel", data: Path, cache: Path | None) -> "list[list[Tensor]]":
    """Features of every kind of every data set, from the file if it is there."""
    import torch  # noqa: PLC0415

    if cache is not None and cache.exists():
        kept: list[list[Tensor]] = torch.load(cache, weights_only=True)
        return kept
    found = [_of_kinds(base, dataset) for dataset in _datasets(base, data)]
    if cache is not None:
        torch.save(found, cache)
    return found


def _datasets(base: "BaseModel", data: Path) -> "list[Dataset]":
    from service.metalearning.datasets import (  # noqa: PLC0415
        read_cifar_fs,
        read_omniglot,
        read_tiny_imagenet,
        with_classes,
        with_rotations,
    )

    decode = decoder(base.header.input)
    if base.header.suits == "drawings":
        return [with_rotations(read_omniglot(data, "val", decode))]
    say("reading photographs")
    photographs = [read_tiny_imagenet(data, "val", decode), read_cifar_fs(data, "val", decode)]
    drawn = read_omniglot(data, "val", decode)
    step = drawn.n_classes / DRAWN_KINDS
    some = with_classes(drawn, [int(index * step) for index in range(DRAWN_KINDS)])
    return [*(_first(each, IMAGES_OF_A_KIND) for each in photographs), _first(some, DRAWN_IMAGES)]


def _first(dataset: "Dataset", n_images: int) -> "Dataset":
    return replace(dataset, rows=tuple(rows[:n_images] for rows in dataset.rows))


def _of_kinds(base: "BaseModel", dataset: "Dataset") -> "list[Tensor]":
    """Features of every view of the images of each class, (n, n_views, n_features)."""
    import torch  # noqa: PLC0415

    from service.metalearning.preprocessing import scaled, views  # noqa: PLC0415

    say(f"features of {sum(len(rows) for rows in dataset.rows)} images of {dataset.name}")
    names = base.header.views
    kinds = []
    with torch.inference_mode():
        for rows in dataset.rows:
            parts = (scaled(dataset.images[part], base.header.scaling) for part in torch.split(rows, PASS_IMAGES))
            found = torch.cat([base.network.backbone(views(part, names)) for part in parts])
            kinds.append(found.reshape(len(rows), len(names), -1))
    return [kind.clone() for kind in kinds]


if __name__ == "__main__":
    typer.run(calibrate)
