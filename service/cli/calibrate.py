"""Fit what makes a base model's answers trustworthy: `python -m service.cli.calibrate CHECKPOINT --data DIR`.

For maintainers, after every change of a base model. The constants go into the checkpoint's header, one set for each
offered learner that adapts the head alone; the provenance says what they were fitted on. `domains` says which classes
that is. `--transfer` tells of each domain how constants do on it that were fitted on the others.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.learning import decoder
from service.cli.output import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from service.metalearning.serialization import BaseModel
    from service.metalearning.trust.drawing import Domain, Kinds
    from service.metalearning.trust.places import Pixels

PASS_IMAGES = 64


def calibrate(
    checkpoint: Annotated[Path, typer.Argument(help="the base model's file; its header is changed")],
    data: Annotated[Path, typer.Option(help="folder of the data sets")],
    features: Annotated[Path | None, typer.Option(help="a file that keeps the features of these very weights")] = None,
    episodes: Annotated[int, typer.Option(min=20, help="tasks of each domain")] = 200,
    learners: Annotated[list[str] | None, typer.Option("--learner", help="only this one; can be given again")] = None,
    transfer: Annotated[bool, typer.Option("--transfer", help="fit without each domain, too, and tell")] = False,
) -> None:
    """Fit the constants and write them into the checkpoint."""
    import torch  # noqa: PLC0415  # slow to import

    from service.metalearning.learners.head_learner import HeadLearner  # noqa: PLC0415
    from service.metalearning.serialization import load_base_model, save_base_model  # noqa: PLC0415
    from service.metalearning.trust.fitting import draw_tasks, fit_tasks  # noqa: PLC0415
    from service.metalearning.trust.transfer import transfers  # noqa: PLC0415

    torch.set_num_threads(1)
    base = load_base_model(checkpoint)
    domains = _domains(base, data, features)
    found = dict(base.header.calibration)
    for name in learners or base.header.learners:
        learner = base.learner(name)
        if isinstance(learner, HeadLearner) and learner.adapts == "head":
            say(f"fitting {name} on {episodes} tasks of each domain")
            tasks = draw_tasks(learner, domains, episodes=episodes)
            for domain, figures in zip(domains, transfers(tasks), strict=True) if transfer else ():
                say(f"  {domain.name:28} {figures}")
            found[name] = fit_tasks(tasks)
    provenance = {**base.header.provenance, "calibration": _provenance(domains, episodes)}
    header = replace(base.header, calibration=found, provenance=provenance)
    save_base_model(checkpoint, base.network, header, learned=base.learned)
    typer.echo(checkpoint)


def _provenance(domains: "Sequence[Domain]", episodes: int) -> str:
    names = "; ".join(domain.name for domain in domains)
    return f"{episodes} tasks of each of these domains of validation classes: {names}"


def _domains(base: "BaseModel", data: Path, cache: Path | None) -> "list[Domain]":
    from service.cli import domains  # noqa: PLC0415
    from service.metalearning.trust.drawing import compact  # noqa: PLC0415

    is_drawn = base.header.suits == "drawings"
    read = domains.images_of_drawings if is_drawn else domains.images_of_photographs
    make = domains.domains_of_drawings if is_drawn else domains.domains_of_photographs
    features = _kept(cache)
    if features is None:
        images = read(data, decoder(base.header.input))
        features = {name: [_features(base, kind) for kind in kinds] for name, kinds in _told(images).items()}
        if cache is not None:
            _keep(features, cache)
    return [compact(domain) for domain in make(features)]


def _told(images: "Mapping[str, Sequence[Pixels]]") -> "Mapping[str, Sequence[Pixels]]":
    for name, kinds in images.items():
        say(f"{name}: {sum(map(len, kinds))} images of {len(kinds)} classes")
    return images


def _kept(cache: Path | None) -> "Mapping[str, Kinds] | None":
    import torch  # noqa: PLC0415

    if cache is None or not cache.exists():
        return None
    kept: Mapping[str, Kinds] = torch.load(cache, weights_only=True)
    return kept


def _keep(features: "Mapping[str, Kinds]", cache: Path) -> None:
    import torch  # noqa: PLC0415

    torch.save(dict(features), cache)


def _features(base: "BaseModel", images: "Pixels") -> "Tensor":
    """Features of the images, (n, n_features)."""
    import torch  # noqa: PLC0415

    from service.metalearning.preprocessing import scaled  # noqa: PLC0415

    with torch.inference_mode():
        parts = (scaled(part, base.header.scaling) for part in torch.split(images, PASS_IMAGES))
        found = torch.cat([base.network.backbone(part) for part in parts])
    return found.clone()


if __name__ == "__main__":
    typer.run(calibrate)
