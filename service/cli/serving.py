"""Commands that run the service: `handful serve` and `handful migrate`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.output import say


def register(app: typer.Typer) -> None:
    """Add the commands `serve` and `migrate`."""
    app.command()(serve)
    app.command()(migrate)


def serve(
    *,
    host: Annotated[str | None, typer.Option(help="address to listen on")] = None,
    port: Annotated[int | None, typer.Option(help="port to listen on")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="folder of what is kept")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda")] = None,
) -> None:
    """Run the service; every setting is an environment variable, see README."""
    from service.app import serve as run  # noqa: PLC0415  # the whole service is slow to import
    from service.settings import load_settings  # noqa: PLC0415

    told = {"host": host, "port": port, "data_dir": data_dir, "device": device}
    run(load_settings(**_given(told)))


def migrate() -> None:
    """Bring the database to the schema of this release."""
    from service.persistence.migrate import migrate as bring_up  # noqa: PLC0415
    from service.preparation import database_url  # noqa: PLC0415  # the whole service is slow to import
    from service.settings import load_settings  # noqa: PLC0415

    bring_up(database_url(load_settings()))
    say("the database has the schema of this release")


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
