"""The command `handful tasks upgrade`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.address import connect
from service.cli.output import AsJson, progress, say, show_json, show_table
from service.cli.tasks import SERVICE_WAIT_S
from service.error_names import error_class
from service.errors import ServiceError

if TYPE_CHECKING:
    from service.client import Client, Task, Version


@dataclass(frozen=True, slots=True)
class Upgrade:
    """One task and what became of it.

    Attributes:
        status: `due` (a dry run), `adapted`, `active` or `failed`.
        old_accuracy, new_accuracy: expected by the versions' reports, None where they do not say.
        problem: why it failed.
    """

    task: str
    name: str | None
    base_model: str | None
    status: str
    old_version: int | None
    old_accuracy: float | None
    new_version: int | None = None
    new_accuracy: float | None = None
    problem: str | None = None


def register(group: typer.Typer) -> None:
    """Add the command to the group `tasks`."""
    group.command()(upgrade)


def upgrade(
    ctx: typer.Context,
    tasks: Annotated[list[str] | None, typer.Argument(metavar="TASK...", help="all ready tasks without one")] = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say which tasks are due")] = False,
    activate: Annotated[bool, typer.Option("--activate", help="let the new versions answer")] = False,
    as_json: AsJson = False,
) -> None:
    """Adapt tasks to the present release of their base model; their answers stay until a new version is activated."""
    with connect(ctx) as client:
        due = list(_due(client, tasks))
        upgrades = []
        with progress("tasks upgraded", 0 if dry_run else len(due)) as advance:
            for task, old, digest in due:
                if dry_run:
                    upgrades.append(_planned(task, old))
                else:
                    upgrades.append(_upgraded(client, task, old, digest, activate=activate))
                    advance(1)
    _show(upgrades, as_json=as_json)
    if any(each.status == "failed" for each in upgrades):
        raise typer.Exit(1)


def _due(client: "Client", names: list[str] | None) -> "Iterator[tuple[Task, Version, str]]":
    """The tasks whose answering version is of another file than their base model's present one, and its digest."""
    present = {card.id: card.digest for card in client.base_models()}
    for task in [client.task(name) for name in names] if names else client.tasks(state="ready"):
        if task.current_version is None:
            continue
        version = client.version(task, task.current_version)
        digest = present.get(version.base_model or "")
        if digest is not None and version.base_model_digest != digest:
            yield task, version, digest


def _planned(task: "Task", old: "Version") -> Upgrade:
    return Upgrade(task.id, task.name, old.base_model, "due", old.number, _expected(old))


def _upgraded(client: "Client", task: "Task", old: "Version", digest: str, *, activate: bool) -> Upgrade:
    planned = _planned(task, old)
    try:
        new = _made_before(client, task, old, digest) or _adapted(client, task, old)
        if activate:
            client.activate(task, new.number)
    except ServiceError as error:
        return _outcome(planned, "failed", problem=error.message)
    return _outcome(planned, "active" if activate else "adapted", new=new)


def _made_before(client: "Client", task: "Task", old: "Version", digest: str) -> "Version | None":
    """The version on the present base model that an earlier run made, if one did."""
    made = (each for each in client.versions(task) if each.number > old.number)
    return next((each for each in made if each.state == "ready" and each.base_model_digest == digest), None)


def _adapted(client: "Client", task: "Task", old: "Version") -> "Version":
    """A new version on the present base model.

    Raises:
        ServiceError: it failed, or cannot be.
    """
    new = client.adapt(task, learner=old.learner, activate=False, wait_s=SERVICE_WAIT_S)
    if new.state in {"queued", "adapting"}:
        client.wait_until_ready(task)
        new = client.version(task, new.number)
    if new.error is not None:
        raise error_class(new.error.type.rpartition("/")[2])(new.error.detail)
    return new


def _outcome(planned: Upgrade, status: str, *, new: "Version | None" = None, problem: str | None = None) -> Upgrade:
    return Upgrade(
        planned.task,
        planned.name,
        planned.base_model,
        status,
        planned.old_version,
        planned.old_accuracy,
        new.number if new else None,
        _expected(new) if new else None,
        problem,
    )


def _expected(version: "Version") -> float | None:
    """The accuracy that the version's report expects."""
    expected = version.report.get("expected_accuracy")
    return float(expected["accuracy"]) if expected else None


def _show(upgrades: list[Upgrade], *, as_json: bool) -> None:
    if as_json:
        show_json(upgrades)
        return
    header = ("task", "name", "base model", "", "old version", "expects", "new version", "expects")
    rows = [
        (u.task, u.name, u.base_model, u.status, u.old_version, u.old_accuracy, u.new_version, u.new_accuracy)
        for u in upgrades
    ]
    show_table(header, rows)
    for each in upgrades:
        if each.problem:
            say(f"task {each.task}: {each.problem}")
    if not upgrades:
        say("every task is adapted from the present release of its base model")
