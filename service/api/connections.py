"""Work that ends with the connection of the client that asked for it."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

Result = TypeVar("Result")


async def while_connected(request: Request, work: Awaitable[Result]) -> Result:
    """The result of the work, which is cancelled if the client leaves meanwhile.

    Raises:
        ClientDisconnect: it left.
    """
    this = asyncio.current_task()
    assert this is not None
    has_left = False

    async def watch() -> None:
        nonlocal has_left
        while (await request.receive())["type"] != "http.disconnect":
            pass
        has_left = True
        this.cancel()

    watcher = asyncio.create_task(watch())
    try:
        return await work
    except asyncio.CancelledError:
        if not has_left or this.uncancel() > 0:
            raise
        raise ClientDisconnect from None
    finally:
        watcher.cancel()
