"""Streams of something that runs: told where it changed, ended with what came of it, and ended by whoever leaves."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from starlette.requests import ClientDisconnect

from service.api import streams
from service.api.life_schemas import PoolProgress
from service.api.streams import HEARTBEAT, followed, framed
from service.errors import EngineBusy


class Running:
    """Something that runs until it is told what comes of it."""

    def __init__(self) -> None:
        self.seen = 0
        self.outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(self._wait())

    async def _wait(self) -> str:
        return await self.outcome

    def frames(self) -> AsyncIterator[str]:
        return followed(self.task, self._look, lambda result: framed("done", json.dumps(result), last=True))

    def _look(self) -> PoolProgress:
        return PoolProgress(read=9, seen=self.seen, of=9)


def fields(frame: str) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in frame.strip().splitlines())


async def test_what_changed_is_told_and_then_what_came_of_it() -> None:
    running = Running()
    frames = running.frames()
    first = fields(await anext(frames))
    running.seen = 4
    second = fields(await anext(frames))
    running.outcome.set_result("all")
    rest = [fields(frame) async for frame in frames]
    assert first == {"event": "progress", "data": '{"read":9,"seen":0,"of":9}'}
    assert second == {"event": "progress", "data": '{"read":9,"seen":4,"of":9}'}
    assert rest == [{"event": "done", "id": "end", "data": '"all"'}]


async def test_where_nothing_changes_the_stream_is_kept_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.0)
    running = Running()
    async with aclosing(running.frames()) as frames:  # type: ignore[type-var]
        assert fields(await anext(frames))["event"] == "progress"
        assert await anext(frames) == HEARTBEAT


@pytest.mark.parametrize(
    ("error", "kind"), [(EngineBusy("try again"), "engine-busy"), (ZeroDivisionError("secret"), "service-error")]
)
async def test_what_goes_wrong_is_the_last_event(error: Exception, kind: str) -> None:
    running = Running()
    running.outcome.set_exception(error)
    (last,) = [fields(frame) async for frame in running.frames()]
    problem = json.loads(last["data"])
    assert (last["event"], problem["type"]) == ("failed", f"/problems/{kind}")
    assert "secret" not in last["data"]


async def test_who_leaves_ends_what_runs() -> None:
    running = Running()
    frames = running.frames()
    await anext(frames)
    await frames.aclose()  # type: ignore[attr-defined]
    await asyncio.gather(running.task, return_exceptions=True)
    assert running.task.cancelled()


async def test_nothing_is_told_to_who_left() -> None:
    running = Running()
    running.outcome.set_exception(ClientDisconnect())
    assert [frame async for frame in running.frames()] == []
