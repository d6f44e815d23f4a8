"""The command `handful base-models`: reads checkpoint files, needs no running service."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.output import AsJson, show_json, show_table

if TYPE_CHECKING:
    from service.usecases.base_models import BaseModelCard


def register(app: typer.Typer) -> None:
    """Add the command `base-models`."""
    app.command("base-models")(base_models)


def base_models(
    *,
    folder: Annotated[
        Path | None,
        typer.Option("--dir", envvar="HANDFUL_BASE_MODELS_DIR", help="folder of further base models"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the base models that are installed, with their measured accuracy."""
    from service.usecases.base_models import SHIPPED, BaseModels  # noqa: PLC0415  # not needed to print a help text

    cards = BaseModels([SHIPPED, *([folder] if folder else [])]).items()
    if as_json:
        show_json([{"id": card.id, "digest": card.digest, "header": card.header} for card in cards])
    else:
        header = ("id", "suits", "input", "learners", "5-way 1-shot", "5-way 5-shot", "purpose")
        show_table(header, [_row(card) for card in cards])


def _row(card: "BaseModelCard") -> Sequence[object]:
    taken = card.header.input
    size = f"{taken.side_px} px {'grey' if taken.channels == 1 else 'colour'}"
    learners = ", ".join(card.header.learners)
    figures = (_figure(card, n_shot=1), _figure(card, n_shot=5))
    return (card.id, card.header.suits, size, learners, *figures, card.header.purpose)


def _figure(card: "BaseModelCard", *, n_shot: int) -> str | None:
    """The default learner's 5-way accuracy on the first data set that it was measured on."""
    wanted = (card.header.default_learner, 5, n_shot)
    found = (item for item in card.header.figures if (item.learner, item.n_way, item.n_shot) == wanted)
    figure = next(found, None)
    return None if figure is None else f"{figure.accuracy:.1f} ± {figure.interval_95:.1f} % ({figure.dataset})"
