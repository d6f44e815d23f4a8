"""What a command shows: results on stdout, everything else on stderr; bars and tables on a terminal only."""

import dataclasses
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any, TypeAlias

import typer

from service.errors import ServiceError, Unauthorized, UploadRejected

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

INTERRUPTED = 130
"""Exit code of what a Ctrl-C ended."""

AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="print JSON")]


def say(line: str) -> None:
    """A line for a person, on stderr."""
    typer.echo(_escaped(line), err=True)


def problem(error: ServiceError) -> None:
    """What went wrong, in one sentence; a line more for each bad image and for each note."""
    say(f"handful: {error.message}")
    if isinstance(error, UploadRejected):
        for item in error.items:
            say(f"  {item.filename or item.pointer}: {item.detail}")
    if isinstance(error, Unauthorized):
        say("  (--api-key or HANDFUL_API_KEY gives this command the key)")
    if error.status >= 500:
        for note in getattr(error, "__notes__", ()):
            say(f"  ({note})")


def show_json(value: Any) -> None:  # noqa: ANN401  # whatever has a form in JSON
    """A value or dataclass as JSON."""
    typer.echo(json.dumps(value, default=_plain, indent=2, ensure_ascii=False))


def show_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Rows under a header: drawn on a terminal, separated by tabs elsewhere."""
    if not sys.stdout.isatty():
        for row in rows:
            typer.echo("\t".join(_cell(value) for value in row))
        return
    from rich.console import Console  # noqa: PLC0415  # slow to import
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(*header, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(Text(_cell(value), overflow="fold") for value in row))
    Console().print(table)


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A function to call with the number of items just done: a bar on a terminal, a line a tenth elsewhere."""
    if not sys.stderr.isatty():
        yield _lines(what, total)
        return
    from rich.console import Console  # noqa: PLC0415  # slow to import
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        shown = bar.add_task(what, total=total)
        yield lambda n_done: bar.advance(shown, n_done)


def _lines(what: str, total: int) -> Callable[[int], None]:
    done = 0

    def advance(n_done: int) -> None:
        nonlocal done
        before, done = done, done + n_done
        if done == total or done * 10 // max(total, 1) > before * 10 // max(total, 1):
            say(f"{what}: {done} of {total}")

    return advance


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    return f"{value:.4f}" if isinstance(value, float) else _escaped(str(value))


def _escaped(text: str) -> str:
    """Text in which no file name ends a line or speaks to the terminal."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found.group()):02x}", text)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return str(value)
