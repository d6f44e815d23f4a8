"""Commands on the life of a task: `handful tasks update|activate|watch|feedback|suggest`."""

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.address import connect
from service.cli.output import AsJson, progress, say, show_json, show_table
from service.cli.sources import image_paths
from service.cli.tasks import SECONDS_A_DAY, Metadata, Store, TaskName, Wait, adapted, pairs, show_task
from service.error_names import error_class
from service.wording import counted

if TYPE_CHECKING:
    from service.client import Client, PoolProgress, Progress, Suggestion


def register(group: typer.Typer) -> None:
    """Add the commands to the group `tasks`."""
    for command in (update, activate, watch, feedback, suggest):
        group.command()(command)


def update(  # noqa: PLR0913  # each is an option of the command line
    ctx: typer.Context,
    task: TaskName,
    *,
    name: Annotated[str | None, typer.Option(help="for people; empty takes it away")] = None,
    metadata: Metadata = None,
    drop_metadata: Annotated[list[str] | None, typer.Option(metavar="KEY", help="may be repeated")] = None,
    threshold: Annotated[str | None, typer.Option(help="mark answers below it: 0 to 1, or `suggested`")] = None,
    store: Store = None,
    keep_days: Annotated[str | None, typer.Option(help="remove the task after so many days, or `forever`")] = None,
    as_json: AsJson = False,
) -> None:
    """Change a task's name, metadata or threshold, and what it keeps of its images and for how long."""
    changes: dict[str, Any] = {} if name is None else {"name": name or None}
    if metadata or drop_metadata:
        changes["metadata"] = {**pairs(metadata), **dict.fromkeys(drop_metadata or ())}
    if threshold is not None:
        changes["threshold"] = _number(threshold, "suggested", "--threshold")
    if store is not None:
        changes["store"] = store
    if keep_days is not None:
        days = _number(keep_days, "forever", "--keep-days")
        changes["keep_s"] = None if days is None else days * SECONDS_A_DAY
    if not changes:
        raise typer.BadParameter("say what to change: --name, --metadata, --threshold, --store or --keep-days")
    with connect(ctx) as client:
        show_task(client.update_task(task, **changes), as_json=as_json)


def activate(
    ctx: typer.Context,
    task: TaskName,
    version: Annotated[int, typer.Argument(min=1, help="number of a ready version")],
    *,
    as_json: AsJson = False,
) -> None:
    """Let another version answer, until a newer one becomes ready."""
    with connect(ctx) as client:
        show_task(client.activate(task, version), as_json=as_json)


def watch(
    ctx: typer.Context,
    task: TaskName,
    version: Annotated[int | None, typer.Argument(min=1, help="the newest without it")] = None,
) -> None:
    """Follow an adaptation until it is ready; a line for each change."""
    with connect(ctx) as client:
        for seen in client.watch(task, version):
            typer.echo("\t".join(_told(seen)))
            if seen.error is not None:
                raise error_class(seen.error.type.rpartition("/")[2])(seen.error.detail)


def _told(seen: "Progress") -> tuple[str, ...]:
    facts = [f"version {seen.number}", seen.state]
    if seen.place is not None:
        facts.append(f"{seen.place} before it")
    if seen.progress is not None:
        facts.append(f"{seen.progress:.0%}")
    return tuple(facts)


def feedback(  # noqa: PLR0913  # each is an option of the command line
    ctx: typer.Context,
    task: TaskName,
    label: Annotated[str, typer.Argument(help="the class that is right")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="image files, or folders of them")],
    *,
    adapt: Annotated[bool, typer.Option(help="adapt the task to its examples, these included")] = True,
    wait: Wait = 300.0,
    as_json: AsJson = False,
) -> None:
    """Tell a task how images are rightly labelled: they become examples of it."""
    paths = image_paths(images)
    with connect(ctx) as client:
        found = client.task(task)
        stored = client.give_feedback(found, {label: paths})
        say(f"{counted(len(stored), 'image')} added to the examples of {label!r}")
        show_task(adapted(client, found, wait_s=wait) if adapt else client.task(found), as_json=as_json)


def suggest(
    ctx: typer.Context,
    task: TaskName,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="image files, or folders of them")],
    *,
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="how many to suggest")] = 10,
    as_json: AsJson = False,
) -> None:
    """Say which of many unlabelled images to label next."""
    paths = image_paths(images)
    with connect(ctx) as client:
        found = _suggested(client, task, paths, number)
    if as_json:
        show_json([{"file": str(paths[each.index]), **asdict(each)} for each in found])
        return
    show_table(("file", "reason", "why"), [(paths[each.index], each.reason, each.detail) for each in found])


def _suggested(client: "Client", task: str, paths: list[Path], n: int) -> "list[Suggestion]":
    """The choice, with a bar of the images that are read, then one of those that are looked at."""
    shown = {"read": 0, "seen": 0}
    with ExitStack() as bar:
        advance = bar.enter_context(progress("images read", len(paths)))

        def tell(at: "PoolProgress") -> None:
            nonlocal advance
            if at.read > shown["read"]:
                advance(at.read - shown["read"])
            if at.seen and not shown["seen"]:
                bar.pop_all().close()
                advance = bar.enter_context(progress("images looked at", len(paths)))
            if at.seen > shown["seen"]:
                advance(at.seen - shown["seen"])
            shown.update(read=at.read, seen=at.seen)

        return client.suggest(task, paths, n=n, on_progress=tell)


def _number(text: str, none: str, option: str) -> float | None:
    """The number that is meant, or None for the word that says so."""
    if text == none:
        return None
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"expected a number or `{none}`, not {text!r}", param_hint=option) from None
