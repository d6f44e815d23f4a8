"""The command `handful predict`."""

import csv
import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.address import connect
from service.cli.output import AsJson, progress, show_json, show_table
from service.cli.sources import image_paths
from service.cli.tasks import SkipBad, TaskName, VersionNumber
from service.cli.uploads import send_accepted

if TYPE_CHECKING:
    from service.client import Client, Prediction, Task

PART_IMAGES = 64


def register(app: typer.Typer) -> None:
    """Add the command `predict`."""
    app.command()(predict)


def predict(  # noqa: PLR0913  # each is an option of the command line
    ctx: typer.Context,
    task: TaskName,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE", help="image files, and folders of them")],
    *,
    top_k: Annotated[int | None, typer.Option(min=1, help="how many classes to score")] = None,
    version: VersionNumber = None,
    nearest: Annotated[int, typer.Option(min=0, help="how many of the most similar examples to name")] = 0,
    as_csv: Annotated[bool, typer.Option("--csv", help="print CSV, with a column for each class")] = False,
    skip_bad: SkipBad = False,
    as_json: AsJson = False,
) -> None:
    """Say which class each image belongs to."""
    if as_csv and as_json:
        raise typer.BadParameter("choose --csv or --json")
    paths = image_paths(images)
    with connect(ctx) as client:
        options = {"top_k": top_k, "nearest": nearest}
        answered = _predictions(client, client.task(task), paths, version=version, options=options, skip_bad=skip_bad)
    if as_json:
        show_json([{"file": str(path), **_plain(prediction)} for path, prediction in answered])
    elif as_csv:
        _show_csv(answered)
    else:
        header = ("image", "class", "probability", "unknown", "remark") + (("nearest examples",) if nearest else ())
        show_table(header, [_row(path, item) for path, item in answered])


def _predictions(
    client: "Client",
    task: "Task",
    paths: Sequence[Path],
    *,
    version: int | None,
    options: Mapping[str, Any],
    skip_bad: bool,
) -> "list[tuple[Path, Prediction]]":
    """The paths answered, each with its prediction; all by one version."""
    answered: list[tuple[Path, Prediction]] = []
    with progress("images answered", len(paths)) as advance:
        for start in range(0, len(paths), PART_IMAGES):
            part = paths[start : start + PART_IMAGES]
            send = _sender(client, task, {**options, "version": version})
            answered += send_accepted(send, part, [str(path) for path in part], skip_bad=skip_bad)
            version = answered[0][1].version if answered else version
            advance(len(part))
    return answered


def _sender(
    client: "Client", task: "Task", options: Mapping[str, Any]
) -> "Callable[[Sequence[Path]], list[Prediction]]":
    return lambda items: client.predict(task, items, **options)


def _row(path: Path, prediction: "Prediction") -> tuple[object, ...]:
    row = (path, prediction.label, prediction.probability, prediction.unknown, _remark(prediction))
    if not prediction.nearest:
        return row
    return *row, ", ".join(f"{each.label} {each.similarity:.3f} ({each.example_id})" for each in prediction.nearest)


def _remark(prediction: "Prediction") -> str:
    """What speaks against the answer."""
    doubts = [("none of the classes?", prediction.is_unknown), ("unsure", prediction.below_threshold)]
    return ", ".join(text for text, holds in doubts if holds)


def _plain(prediction: "Prediction") -> dict[str, object]:
    scores = [{"label": score.label, "probability": score.probability} for score in prediction.scores]
    plain = {
        "label": prediction.label,
        "probability": prediction.probability,
        "scores": scores,
        "version": prediction.version,
        "below_threshold": prediction.below_threshold,
        "unknown": prediction.unknown,
        "is_unknown": prediction.is_unknown,
    }
    if prediction.nearest:
        plain["nearest"] = [dataclasses.asdict(each) for each in prediction.nearest]
    return plain


def _show_csv(answered: "Sequence[tuple[Path, Prediction]]") -> None:
    labels = sorted({score.label for _, prediction in answered for score in prediction.scores})
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["file", "label", "probability", *(f"p_{label}" for label in labels)])
    for path, prediction in answered:
        scores = {score.label: f"{score.probability:.6f}" for score in prediction.scores}
        chosen = [prediction.label, f"{prediction.probability:.6f}"]
        writer.writerow([path, *chosen, *(scores.get(label, "") for label in labels)])
