"""The command `handful tasks evaluate`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.address import connect
from service.cli.output import AsJson, show_json, show_table
from service.cli.sources import FoundImage
from service.cli.tasks import SkipBad, TaskName, VersionNumber, images_of
from service.cli.uploads import send_accepted
from service.errors import InvalidRequest
from service.wording import counted

if TYPE_CHECKING:
    from service.client import Client, Evaluation, Task

_SHOWN_THRESHOLDS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99)


def register(group: typer.Typer) -> None:
    """Add the command to the group `tasks`."""
    group.command()(evaluate)


def evaluate(  # noqa: PLR0913  # each is an option of the command line
    ctx: typer.Context,
    task: TaskName,
    source: Annotated[
        Path | None, typer.Argument(exists=True, help="folder or zip with one folder of images for each class")
    ] = None,
    *,
    version: VersionNumber = None,
    count_unknown: Annotated[
        bool, typer.Option("--count-unknown", help="images of other classes judge the unknown score")
    ] = False,
    skip_bad: SkipBad = False,
    as_json: AsJson = False,
) -> None:
    """Say how good a task is: on labelled images, which are not kept, or by its own examples."""
    images = None if source is None else images_of(source)
    with connect(ctx) as client:
        found = client.task(task)
        if images is None:
            evaluation = client.evaluate(found, version=version)
        else:
            evaluation = _evaluated(
                client, found, images, version=version, count_unknown=count_unknown, skip_bad=skip_bad
            )
    if as_json:
        show_json(evaluation)
    else:
        _show(evaluation)


def _evaluated(
    client: "Client",
    task: "Task",
    images: Sequence[FoundImage],
    *,
    version: int | None,
    count_unknown: bool,
    skip_bad: bool,
) -> "Evaluation":
    def send(items: Sequence[FoundImage]) -> "list[Evaluation]":
        queries = [(image.label, image.source) for image in items]
        found = client.evaluate(task, queries, version=version, unknown_labels="count" if count_unknown else "refuse")
        return [found] * len(items)

    answered = send_accepted(send, images, [image.path for image in images], skip_bad=skip_bad)
    if not answered:
        raise InvalidRequest("every image was refused, so there is nothing to evaluate on")
    return answered[0][1]


def _show(evaluation: "Evaluation") -> None:
    """The figures as one table: what, of which, then its values."""
    show_table(("", ""), _facts(evaluation))
    show_table(
        ("", "class", "images", "precision", "recall", "f1"),
        [("class", each.label, each.support, each.precision, each.recall, each.f1) for each in evaluation.classes],
    )
    labels = [each.label for each in evaluation.classes]
    if evaluation.confusion is not None:
        rows = zip(labels, evaluation.confusion, strict=True)
        show_table(("", "is, called", *labels), [("called", label, *row) for label, row in rows])
    shown = [each for each in evaluation.thresholds if each.threshold in _SHOWN_THRESHOLDS]
    if shown:
        show_table(
            ("", "threshold", "answered", "accuracy", "unknown answered"),
            [("threshold", each.threshold, each.coverage, each.accuracy, each.unknown_answered) for each in shown],
        )


def _facts(evaluation: "Evaluation") -> list[tuple[str, object]]:
    low, high = evaluation.interval_95
    facts: list[tuple[str, object]] = [
        ("version", evaluation.version),
        ("measured on", f"{counted(evaluation.n_images, 'image')}, {evaluation.basis}"),
        ("accuracy", f"{evaluation.accuracy:.4f} ({low:.4f} to {high:.4f})"),
        ("balanced accuracy", evaluation.balanced_accuracy),
    ]
    if evaluation.calibration is not None:
        facts.append(("calibration error", evaluation.calibration["error"]))
    if evaluation.unknown is not None:
        facts.append(("unknown images", evaluation.unknown["n_images"]))
        facts.append(("unknown AUROC", evaluation.unknown["auroc"]))
    return facts
