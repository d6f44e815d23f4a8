"""Commands on the tasks of a running service: `handful tasks create|add|list|show|adapt|delete`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from service.cli.address import connect
from service.cli.output import AsJson, say, show_json, show_table
from service.cli.sources import FoundImage, labelled_images
from service.cli.uploads import check_support_set, missing_images, send_examples, told_if_half_made
from service.errors import DeadlineExceeded
from service.wording import counted

if TYPE_CHECKING:
    from service.client import Client, Task, TaskClass, Version

SERVICE_WAIT_S = 10.0
SECONDS_A_DAY = 86400.0

TaskName: TypeAlias = Annotated[str, typer.Argument(metavar="TASK", help="id, or a name that only one task has")]
Source: TypeAlias = Annotated[
    Path, typer.Option("--from", exists=True, help="folder or zip with one folder of images for each class")
]
SkipBad: TypeAlias = Annotated[bool, typer.Option(help="leave out images that are refused, and say which")]
Wait: TypeAlias = Annotated[float, typer.Option(min=0, help="seconds to wait for the adaptation")]
Learner: TypeAlias = Annotated[str | None, typer.Option(help="one that the base model offers")]
VersionNumber: TypeAlias = Annotated[int | None, typer.Option(min=1, help="the one that answers without it")]
Store: TypeAlias = Annotated[
    str | None, typer.Option(help="what is kept of the images once it is adapted: images, features, nothing")
]
Prior: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME|LABEL=WEIGHT", help="how often classes are expected: balanced, support, or each its weight"
    ),
]
Metadata: TypeAlias = Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="may be repeated")]


def register(app: typer.Typer) -> typer.Typer:
    """Add the group `tasks`, and give it."""
    group = typer.Typer(help="Make and change the tasks of a running service.", no_args_is_help=True)
    for command in (create, add, adapt, show, delete):
        group.command()(command)
    group.command("list")(list_tasks)
    app.add_typer(group, name="tasks")
    return group


def create(  # noqa: PLR0913  # each is an option of the command line
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="for people; need not be unique")],
    *,
    source: Source,
    base_model: Annotated[str | None, typer.Option(help="see `handful base-models`")] = None,
    learner: Learner = None,
    prior: Prior = None,
    metadata: Metadata = None,
    store: Store = None,
    threshold: Annotated[float | None, typer.Option(min=0, max=1, help="mark answers below it")] = None,
    keep_days: Annotated[float | None, typer.Option(min=0, help="remove the task after so many days")] = None,
    skip_bad: SkipBad = False,
    wait: Wait = 300.0,
    as_json: AsJson = False,
) -> None:
    """Make a task from the images of a folder, and adapt it."""
    options = {
        "base_model": base_model,
        "learner": learner,
        "prior": prior_of(prior),
        "metadata": pairs(metadata) or None,
        "store": store,
        "threshold": threshold,
        "keep_s": None if keep_days is None else keep_days * SECONDS_A_DAY,
    }
    images = images_of(source)
    with connect(ctx) as client:
        check_support_set(images, client.limits())
        task = client.create_empty_task(name, **options)  # type: ignore[arg-type]  # the service checks `prior`
        with told_if_half_made(client, task, source):
            send_examples(client, task, images, skip_bad=skip_bad)
            task = adapted(client, task, wait_s=wait)
        show_task(task, as_json=as_json)


def add(  # noqa: PLR0913  # each is an option of the command line
    ctx: typer.Context,
    task: TaskName,
    *,
    source: Source,
    adapt: Annotated[bool, typer.Option(help="adapt the task to its examples afterwards")] = True,
    skip_bad: SkipBad = False,
    wait: Wait = 300.0,
    as_json: AsJson = False,
) -> None:
    """Add the images of a folder that a task does not have yet, and adapt it."""
    images = images_of(source)
    with connect(ctx) as client:
        found = client.task(task)
        missing = missing_images(client, found, images)
        if len(missing) < len(images):
            say(f"{len(images) - len(missing)} of {counted(len(images), 'image')} there already")
        with told_if_half_made(client, found, source):
            send_examples(client, found, missing, skip_bad=skip_bad)
            is_due = bool(missing) or found.current_version is None
            found = adapted(client, found, wait_s=wait) if adapt and is_due else client.task(found)
        show_task(found, as_json=as_json)


def adapt(  # noqa: PLR0913  # each is an option of the command line
    ctx: typer.Context,
    task: TaskName,
    *,
    learner: Learner = None,
    steps: Annotated[int | None, typer.Option(help="gradient steps, where the learner takes steps")] = None,
    lr: Annotated[float | None, typer.Option(help="learning rate of the steps")] = None,
    prior: Prior = None,
    wait: Wait = 300.0,
    as_json: AsJson = False,
) -> None:
    """Adapt a task to its present examples as a new version."""
    with connect(ctx) as client:
        options = {"learner": learner, "steps": steps, "lr": lr, "prior": prior_of(prior)}
        found = adapted(client, client.task(task), wait_s=wait, **options)
        if found.current_version is not None and found.pending_version is None:
            say(_how(client.version(found, found.current_version)))
        show_task(found, as_json=as_json)


def list_tasks(
    ctx: typer.Context,
    *,
    state: Annotated[str | None, typer.Option(help="empty, queued, adapting, ready or failed")] = None,
    metadata: Metadata = None,
    as_json: AsJson = False,
) -> None:
    """List tasks, newest first."""
    with connect(ctx) as client:
        tasks = list(client.tasks(state=state, metadata=pairs(metadata)))
    if as_json:
        show_json(tasks)
        return
    header = ("id", "name", "state", "base model", "classes", "examples", "version", "created")
    show_table(header, [_row(task) for task in tasks])


def show(ctx: typer.Context, task: TaskName, *, as_json: AsJson = False) -> None:
    """Show a task."""
    with connect(ctx) as client:
        show_task(client.task(task), as_json=as_json)


def delete(
    ctx: typer.Context,
    tasks: Annotated[list[str], typer.Argument(metavar="TASK", help="ids, or names that only one task has")],
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False,
) -> None:
    """Remove tasks with their examples and versions; asks on a terminal."""
    with connect(ctx) as client:
        found = [client.task(task) for task in tasks]
        for task in found:
            named = f"task {task.id} ({task.name or 'without a name'}, {counted(task.n_examples, 'example')})"
            if not yes and sys.stdin.isatty() and not typer.confirm(f"delete {named}?", err=True):
                say(f"{named} is kept")
                continue
            client.delete_task(task)
            say(f"deleted {named}")


def images_of(source: Path) -> list[FoundImage]:
    """The labelled images of a folder or zip; says what it leaves out."""
    images, others = labelled_images(source)
    if others:
        shown = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        say(f"left out {counted(len(others), 'file')}, no image in a class folder: {shown}")
    return images


def adapted(client: "Client", task: "Task", *, wait_s: float, **options: Any) -> "Task":  # noqa: ANN401  # as in adapt
    """The task after an adaptation, or as it is after wait_s."""
    version = client.adapt(task, wait_s=min(wait_s, SERVICE_WAIT_S), **options)
    if version.state in {"queued", "adapting"} and wait_s > SERVICE_WAIT_S:
        say("adapting: many big photographs take a while")
    try:
        return client.wait_until_ready(task, timeout_s=max(0.0, wait_s - SERVICE_WAIT_S))
    except DeadlineExceeded:
        say("the adaptation goes on in the service")
        return client.task(task)


def _how(version: "Version") -> str:
    """What a version was adapted with, which may be another learner than the task's own."""
    steps = ", ".join(f"{name} {version.settings[name]}" for name in ("steps", "lr") if name in version.settings)
    return f"version {version.number} is adapted with {version.learner}" + (f", {steps}" if steps else "")


def prior_of(options: Sequence[str] | None) -> str | dict[str, float] | None:
    """The prior that `--prior` says once by its name, or once for each label."""
    if not options:
        return None
    if len(options) == 1 and "=" not in options[0]:
        return options[0]
    parts = [option.rpartition("=") for option in options]
    try:
        return {label: float(weight) for label, _, weight in parts}
    except ValueError:
        raise typer.BadParameter("expected `balanced`, `support` or LABEL=NUMBER", param_hint="--prior") from None


def pairs(items: Sequence[str] | None) -> dict[str, str]:
    """The pairs of options that are `KEY=VALUE` each."""
    found = [item.partition("=") for item in items or ()]
    wrong = [key for key, separator, _ in found if not (key and separator)]
    if wrong:
        raise typer.BadParameter(f"expected KEY=VALUE, not {wrong[0]!r}", param_hint="--metadata")
    return {key: value for key, _, value in found}


def show_task(task: "Task", *, as_json: bool) -> None:
    """A task as a table of facts, or as JSON."""
    if as_json:
        show_json(task)
        return
    classes = ", ".join(_class_in_words(item) for item in task.classes)
    facts = {
        "id": task.id,
        "name": task.name,
        "state": task.state,
        "base model": task.base_model,
        "learner": task.learner,
        "classes": classes or None,
        "version": task.current_version,
        "created": task.created_at,
    }
    told = {
        "threshold": task.threshold,
        "keeps": None if task.store == "images" else task.store,
        "removed": task.expires_at,
    }
    rows = [*facts.items(), *((name, value) for name, value in told.items() if value is not None)]
    show_table(("", ""), rows)


def _class_in_words(item: "TaskClass") -> str:
    return f"{item.label} ({item.n_examples}{', left out' if item.is_left_out else ''})"


def _row(task: "Task") -> tuple[object, ...]:
    n_way = len(task.classes)
    counts = (n_way, task.n_examples, task.current_version)
    return (task.id, task.name, task.state, task.base_model, *counts, task.created_at)
