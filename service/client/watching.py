"""Watching an adaptation: server-sent events as values."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from service.client.answers import Problem, parse
from service.client.connection import Connection
from service.errors import error_class

LAST_ID = "end"


@dataclass(frozen=True, slots=True)
class Progress:
    """How an adaptation is at one moment.

    Attributes:
        state: `queued`, `adapting`, `ready` or `failed`.
        place: how many unfinished versions were there before it, while it is queued.
        progress: share that is done, 0 to 1, while it is adapting and that can be said.
        error: what went wrong, where it failed.
    """

    number: int
    state: str
    place: int | None = None
    progress: float | None = None
    error: Problem | None = None


@dataclass(frozen=True, slots=True)
class _Event:
    name: str
    data: dict[str, Any]
    is_last: bool


def watch(connection: Connection, path: str) -> Iterator[Progress]:
    """Each change of a version up to its end, also over a connection that breaks or another process that answers.

    Raises:
        TaskNotFound: the task was removed meanwhile.
    """
    while True:
        for event in _events(connection.lines(path)):
            if event.name == "gone":
                raise error_class(str(event.data["type"]).rpartition("/")[2])(str(event.data["detail"]))
            error = event.data.get("error")
            yield parse(Progress, event.data | {"error": error and parse(Problem, error)})
            if event.is_last:
                return


def _events(lines: Iterator[str]) -> Iterator[_Event]:
    """The events in a stream of lines; comments are passed over."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        if line and name:
            fields[name] = value.removeprefix(" ")
        elif not line and "data" in fields:
            yield _Event(fields.get("event", ""), json.loads(fields["data"]), fields.get("id") == LAST_ID)
            fields = {}
