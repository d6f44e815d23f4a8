"""The command `handful make-base-model`: a base model of a published network and one's own pictures."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.class_images import ARCHIVE, ARCHIVES, IMAGES_OF_A_CLASS, first_of_each, lessons, read_domains
from service.cli.learning import decoder
from service.cli.output import say
from service.errors import CheckpointError

if TYPE_CHECKING:
    from service.metalearning.datasets import Dataset
    from service.metalearning.projection import Domain
    from service.metalearning.torchvision_base_model import Frozen


def register(app: typer.Typer) -> None:
    """Add the command `make-base-model`."""
    app.command("make-base-model")(make_base_model)


def make_base_model(  # noqa: PLR0913, PLR0917  # an option is an argument
    backbone: Annotated[str, typer.Option(help="torchvision:NAME, such as torchvision:convnext_tiny")],
    data: Annotated[Path, typer.Option(help=f"class folders or a zip of them; or the folder of {ARCHIVES}")],
    out: Annotated[Path, typer.Option(help="the checkpoint file, ID.safetensors")],
    weights: Annotated[
        Path | None,
        typer.Option(
            help="state dict of the network; default: torchvision's, downloaded if need be", exists=True, dir_okay=False
        ),
    ] = None,
    side_px: Annotated[int | None, typer.Option(min=32, help="of the images; default as the weights want")] = None,
    images: Annotated[int, typer.Option(min=2, help="most images of a class folder")] = IMAGES_OF_A_CLASS,
    steps: Annotated[int, typer.Option(min=0, help="in which gains and shifts of the channels are learned")] = 0,
    purpose: Annotated[str | None, typer.Option(help="one sentence for who chooses")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default as many as torch takes")] = None,
) -> None:
    """Learn a projection of a network's features and write the base model; the weights stay in their file."""
    import torch  # noqa: PLC0415  # slow to import

    from service.metalearning import torchvision_base_model as base_model  # noqa: PLC0415
    from service.metalearning.header import TORCHVISION  # noqa: PLC0415
    from service.metalearning.serialization import save_base_model  # noqa: PLC0415

    model = backbone.removeprefix(TORCHVISION)
    if not model or model == backbone or out.suffix != ".safetensors":
        raise typer.BadParameter(f"expected --backbone {TORCHVISION}NAME and --out ID.safetensors")
    if threads is not None:
        torch.set_num_threads(threads)
    file = weights or _downloaded(model)
    frozen = base_model.frozen(model, file, side_px=side_px)
    _place(file, out.parent)
    if steps:
        _modulate(frozen, data, images, steps, out.with_suffix(".state"))
    with torch.inference_mode():
        domains = _domains(frozen, data, images)
        network, header = base_model.make_base_model(
            frozen,
            domains,
            id_=out.stem,
            purpose=purpose or f"Photographs, by {model} of torchvision",
            steps=steps,
        )
    save_base_model(out, network, header)
    typer.echo(out)


def _downloaded(model: str) -> Path:
    from service.metalearning.torchvision_backbone import default_weights  # noqa: PLC0415
    from service.metalearning.weights_files import download, hub_folder  # noqa: PLC0415

    return download(default_weights(model), hub_folder())


def _place(weights: Path, folder: Path) -> None:
    """Put the file where it is found when the checkpoint in the folder is loaded: beside it, or in torch hub's cache.

    Raises:
        CheckpointError: the folder has another file of this name.
    """
    from service.metalearning.header import file_digest  # noqa: PLC0415
    from service.metalearning.weights_files import hub_folder  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / weights.name
    if weights.resolve().parent == hub_folder().resolve():
        say(f"the weights are {weights}; a service that does not see this folder needs them at {beside}")
    elif not beside.exists():
        shutil.copyfile(weights, beside)
        say(f"the weights are copied to {beside}, beside the checkpoint")
    elif file_digest(beside) != file_digest(weights):
        raise CheckpointError(f"{beside} is another file than {weights}; give one of them another name")


def _modulate(frozen: "Frozen", data: Path, n_images: int, steps: int, state_file: Path) -> None:
    """Learn gains and shifts of the network's channels; the state file is for going on, and goes at the end."""
    from service.metalearning.modulation import Lessons, Settings, learn_modulation  # noqa: PLC0415
    from service.metalearning.projection import PHOTOGRAPHS  # noqa: PLC0415

    if (data / ARCHIVE).is_file():
        domains = lessons(data, decoder(frozen.input))
    else:
        dataset = _class_folders(frozen, data, n_images)
        domains = {PHOTOGRAPHS: Lessons(dataset.images, dataset.labels, 1.0, is_mirrored=True, is_taken_elsewhere=True)}
    learned = learn_modulation(
        frozen.backbone,
        0,
        domains,
        frozen.scaling,
        state_file=state_file,
        how=Settings(steps=steps),
        tell=lambda step, loss: say(f"step {step}: loss {loss:.3f}"),
    )
    frozen.backbone.networks[0].load_state_dict(learned, strict=False)
    state_file.unlink()


def _domains(frozen: "Frozen", data: Path, n_images: int) -> "dict[str, Domain]":
    """What the network says of the archives that `photo` is made with, or of a folder's classes."""
    from service.metalearning.projection import PHOTOGRAPHS, seen_by_members  # noqa: PLC0415

    if (data / ARCHIVE).is_file():
        return read_domains(data, frozen.backbone, frozen.input, frozen.scaling)
    dataset = _class_folders(frozen, data, n_images)
    return {PHOTOGRAPHS: seen_by_members(frozen.backbone, dataset, frozen.scaling)}


def _class_folders(frozen: "Frozen", data: Path, n_images: int) -> "Dataset":
    from service.metalearning.datasets import read_class_folders  # noqa: PLC0415

    pick = first_of_each(n_images, lambda _: True)
    dataset = read_class_folders(data, decoder(frozen.input), name=data.stem, pick=pick)
    say(f"{data.name}: {len(dataset.images)} images of {dataset.n_classes} classes")
    return dataset
