"""Commands on the classes of a task: `handful tasks rename-class|leave-out|take-in|remove-class`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from service.cli.address import connect
from service.cli.output import AsJson
from service.cli.tasks import TaskName, Wait, adapted, show_task

if TYPE_CHECKING:
    from service.client import Client, Task

Change: TypeAlias = Callable[["Client", "Task"], None]
Label: TypeAlias = Annotated[str, typer.Argument(help="the class")]
Labels: TypeAlias = Annotated[list[str], typer.Argument(metavar="LABEL...", help="the classes")]
Adapt: TypeAlias = Annotated[bool, typer.Option(help="adapt the task to what it is then")]


def register(group: typer.Typer) -> None:
    """Add the commands to the group `tasks`."""
    for command in (rename_class, leave_out, take_in, remove_class):
        group.command(command.__name__.replace("_", "-"))(command)


def rename_class(  # noqa: PLR0913  # each is an option of the command line
    ctx: typer.Context,
    task: TaskName,
    label: Label,
    new_label: Annotated[str, typer.Argument(help="its new label")],
    *,
    adapt: Adapt = True,
    wait: Wait = 300.0,
    as_json: AsJson = False,
) -> None:
    """Give a class another label, and adapt the task so that it answers with it."""

    def change(client: "Client", found: "Task") -> None:
        client.rename_class(found, label, new_label)

    _change(ctx, task, change, adapt=adapt, wait_s=wait, as_json=as_json)


def leave_out(
    ctx: typer.Context,
    task: TaskName,
    labels: Labels,
    *,
    adapt: Adapt = True,
    wait: Wait = 300.0,
    as_json: AsJson = False,
) -> None:
    """Leave classes out of adaptations, this one and later ones; their examples stay."""
    change = _of_each(labels, lambda client, task, label: client.leave_out_class(task, label))
    _change(ctx, task, change, adapt=adapt, wait_s=wait, as_json=as_json)


def take_in(
    ctx: typer.Context,
    task: TaskName,
    labels: Labels,
    *,
    adapt: Adapt = True,
    wait: Wait = 300.0,
    as_json: AsJson = False,
) -> None:
    """Take in again classes that were left out."""
    change = _of_each(labels, lambda client, task, label: client.take_in_class(task, label))
    _change(ctx, task, change, adapt=adapt, wait_s=wait, as_json=as_json)


def remove_class(
    ctx: typer.Context,
    task: TaskName,
    label: Label,
    *,
    adapt: Adapt = True,
    wait: Wait = 300.0,
    as_json: AsJson = False,
) -> None:
    """Remove a class with its examples, and adapt the task to what is left."""

    def change(client: "Client", found: "Task") -> None:
        client.remove_class(found, label)

    _change(ctx, task, change, adapt=adapt, wait_s=wait, as_json=as_json)


def _of_each(labels: list[str], change_one: "Callable[[Client, Task, str], object]") -> Change:
    """The change of a task that changes each of these classes."""

    def change(client: "Client", found: "Task") -> None:
        for label in labels:
            change_one(client, found, label)

    return change


def _change(
    ctx: typer.Context,
    task: str,
    change: Change,
    *,
    adapt: bool,
    wait_s: float,
    as_json: bool,
) -> None:
    with connect(ctx) as client:
        found = client.task(task)
        change(client, found)
        show_task(adapted(client, found, wait_s=wait_s) if adapt else client.task(found), as_json=as_json)
