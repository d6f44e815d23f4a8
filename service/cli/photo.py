"""Make the checkpoint of the base model `photo`: `python -m service.cli.photo --help`, for maintainers.

It is small: the weights stay in their packages, which the checkpoint names by digest.
"""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.class_images import ARCHIVES, read_domains


def make(
    data: Annotated[Path, typer.Option(help=f"folder of {ARCHIVES}")],
    run: Annotated[Path, typer.Option(help="folder in which service.cli.modulation left one file a network")],
    features: Annotated[Path | None, typer.Option(help="a file that keeps what the networks gave")] = None,
    out: Annotated[Path, typer.Option(help="the checkpoint file")] = Path("service/base_models/photo.safetensors"),
) -> None:
    """Learn the projection from training classes of several domains and write the checkpoint."""
    import torch  # noqa: PLC0415  # slow to import

    from service.metalearning.modulation import read_modulations  # noqa: PLC0415
    from service.metalearning.photo import INPUT, SCALING, make_photo, photo_backbone  # noqa: PLC0415
    from service.metalearning.projection import domains_from_file, domains_to_file  # noqa: PLC0415
    from service.metalearning.serialization import save_base_model  # noqa: PLC0415

    with torch.inference_mode():
        backbone, spec = photo_backbone()
        read_modulations(run, backbone)
        if features and features.exists():
            domains = domains_from_file(features)
        else:
            domains = read_domains(data, backbone, INPUT, SCALING)
            if features:
                domains_to_file(features, domains)
        network, header = make_photo(backbone, spec, domains)
    save_base_model(out, network, header)
    typer.echo(out)


if __name__ == "__main__":
    typer.run(make)
