"""Make the checkpoint of the base model `photo`: `python -m service.cli.photo --data DIR`, for maintainers.

It is small: the weights stay in their package, which the checkpoint names by digest.
"""

from pathlib import Path, PurePosixPath
from typing import Annotated

import typer

from service.cli.learning import decoder
from service.cli.output import say

IMAGES_OF_A_CLASS = 10


def make(
    data: Annotated[Path, typer.Option(help="folder of tiny_imagenet.zip")],
    out: Annotated[Path, typer.Option(help="the checkpoint file")] = Path("service/base_models/photo.safetensors"),
) -> None:
    """Measure the centre on images of Tiny-ImageNet's training classes and write the checkpoint."""
    from service.metalearning.datasets import read_class_folders  # noqa: PLC0415  # torch is slow to import
    from service.metalearning.photo import INPUT, make_photo  # noqa: PLC0415
    from service.metalearning.serialization import save_base_model  # noqa: PLC0415

    say("reading the images that give the centre")
    name = "tiny-imagenet (training classes)"
    images = read_class_folders(data / "tiny_imagenet.zip", decoder(INPUT), name=name, pick=_is_chosen)
    network, header = make_photo(images)
    save_base_model(out, network, header)
    typer.echo(out)


def _is_chosen(path: str) -> bool:
    """The first images of each training class; their names end in their number."""
    number = PurePosixPath(path).stem.rpartition("_")[2]
    return path.startswith("train/") and int(number) < IMAGES_OF_A_CLASS


if __name__ == "__main__":
    typer.run(make)
