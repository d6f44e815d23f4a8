"""Learn the modulation of one network of `photo`: `python -m service.cli.modulation --help`, for maintainers.

Each network takes a process of its own, half an hour to an hour on one core. One that was cut off goes on.
"""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.class_images import ARCHIVES, lessons
from service.cli.learning import decoder
from service.cli.output import say


def modulate(
    data: Annotated[Path, typer.Option(help=f"folder of {ARCHIVES}")],
    run: Annotated[Path, typer.Option(help="folder that keeps the state, and then the modulation")],
    member: Annotated[int, typer.Option(min=0, help="which network, from 0")],
    threads: Annotated[int, typer.Option(min=1, help="CPU threads")] = 1,
) -> None:
    """Learn gains and shifts of the channels from training classes of several domains."""
    import torch  # noqa: PLC0415  # slow to import

    from service.metalearning.modulation import learn_modulation, modulation_file, write_modulation  # noqa: PLC0415
    from service.metalearning.photo import INPUT, SCALING, photo_backbone  # noqa: PLC0415

    torch.set_num_threads(threads)
    run.mkdir(parents=True, exist_ok=True)
    backbone, _ = photo_backbone()
    learned = learn_modulation(
        backbone,
        member,
        lessons(data, decoder(INPUT)),
        SCALING,
        state_file=run / f"member_{member}.state",
        tell=lambda step, loss: say(f"step {step}: loss {loss:.3f}"),
    )
    write_modulation(modulation_file(run, member), learned)
    typer.echo(modulation_file(run, member))


if __name__ == "__main__":
    typer.run(modulate)
