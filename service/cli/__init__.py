"""The command line `handful`: one module a group of commands, each with `register(app)`.

A problem is one sentence on stderr. Exit codes: 0 done, 1 a problem, 2 wrong usage, 130 interrupted.
Modules import what they need inside their commands, so that `handful --help` is quick and only the commands
that train or evaluate load torch.
"""

import io
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer

from service.cli import (
    base_models,
    classes,
    evaluations,
    exports,
    learning,
    life,
    making,
    output,
    predictions,
    serving,
    tasks,
    upgrade,
)
from service.cli.address import DEFAULT_URL, Address
from service.errors import ServiceError


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command of the process, or of these arguments, and exit with its code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names need not be text
    try:
        build_app()(args=arguments, prog_name="handful")
    except ServiceError as error:
        output.problem(error)
        sys.exit(1)
    except OSError as error:
        output.say(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(output.INTERRUPTED)


def build_app() -> typer.Typer:
    """The command with all its parts."""
    app = typer.Typer(
        help="An image classifier from a handful of examples, as a service.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        callback=_root,
    )
    serving.register(app)
    group = tasks.register(app)
    for commands in (classes, evaluations, exports, life, upgrade):
        commands.register(group)
    for part in (predictions, base_models, learning, making):
        part.register(app)
    return app


def _tell_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"handful {version('handful')}")
        raise typer.Exit


def _root(
    ctx: typer.Context,
    *,
    url: Annotated[str, typer.Option(envvar="HANDFUL_URL", help="where the service is")] = DEFAULT_URL,
    api_key: Annotated[str | None, typer.Option(envvar="HANDFUL_API_KEY", help="key of the service")] = None,
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="print the release and end")
    ] = False,
) -> None:
    ctx.obj = Address(url, api_key)
