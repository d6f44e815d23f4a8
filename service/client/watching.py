"""Watching an adaptation: server-sent events as values."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from service.client.answers import Problem, parse
from service.client.connection import Connection, error_of

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
class Event:
    """A server-sent event whose data are JSON."""

    name: str
    data: dict[str, Any]
    is_last: bool


def watch(connection: Connection, path: str) -> Iterator[Progress]:
    """Each change of a version up to its end, also over a connection that breaks or another process that answers.

    Raises:
        TaskNotFound: the task was removed meanwhile.
    """
    while True:
        for event in events_in(connection.lines(path)):
            if event.name == "gone":
                raise error_of(event.data)
            error = event.data.get("error")
            yield parse(Progress, event.data | {"error": error and parse(Problem, error)})
            if event.is_last:
                return


def events_in(lines: Iterator[str]) -> Iterator[Event]:
    """The events in a stream of lines; comments are passed over."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        if line and name:
            fields[name] = value.removeprefix(" ")
        elif not line and "data" in fields:
            yield Event(fields.get("event", ""), json.loads(fields["data"]), fields.get("id") == LAST_ID)
            fields = {}
