"""The command `handful tasks export`."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from service.cli.address import connect
from service.cli.output import AsJson, say, show_json
from service.cli.tasks import TaskName, VersionNumber
from service.errors import InvalidRequest


class Format(StrEnum):
    """What a task model can be written as."""

    ONNX = "onnx"
    SAFETENSORS = "safetensors"


def register(group: typer.Typer) -> None:
    """Add the command to the group `tasks`."""
    group.command()(export)


def export(  # noqa: PLR0913  # each is an option of the command line
    ctx: typer.Context,
    task: TaskName,
    *,
    kind: Annotated[Format, typer.Option("--format", help="the whole model, or the task parameters")] = Format.ONNX,
    out: Annotated[
        Path | None, typer.Option(help="file to write, `-` for standard output; named after the task without it")
    ] = None,
    version: VersionNumber = None,
    force: Annotated[bool, typer.Option(help="write over a file that is there")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a task model to a file that runs without Handful."""
    _refuse_existing(out, force=force)
    with connect(ctx) as client:
        file = client.export(task, kind.value, version=version)
    if out == Path("-"):
        sys.stdout.buffer.write(file.data)
        return
    path = out or Path(file.filename)
    _refuse_existing(path, force=force)
    path.write_bytes(file.data)
    if as_json:
        show_json({"file": str(path), "size_bytes": len(file.data)})
    else:
        say(f"wrote {path} ({len(file.data)} bytes)")


def _refuse_existing(path: Path | None, *, force: bool) -> None:
    if path is not None and path.exists() and not force and path != Path("-"):
        raise InvalidRequest(f"{path} is there already; --force writes over it")
