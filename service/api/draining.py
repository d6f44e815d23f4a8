"""The HTTP server as it ends: still listening for a while, then finishing what is in flight.

Why: a load balancer goes on sending for some seconds after a process was told to end, and uvicorn by itself closes
its listener at once.
"""

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from types import FrameType
from typing import Final

import uvicorn

from service.api.deps import Lifecycle
from service.api.protocol import BoundedProtocol

KEEP_ALIVE_S: Final = 30


class DrainingServer(uvicorn.Server):
    """Ends in two steps: after the first SIGTERM it answers for `drain_s` more; a second one ends it at once.

    Ctrl-C (SIGINT) does not wait: nobody but the person at the terminal is connected.
    """

    def __init__(self, config: uvicorn.Config, *, lifecycle: Lifecycle, drain_s: float) -> None:
        super().__init__(config)
        self._lifecycle = lifecycle
        self._drain_s = drain_s
        self._ends_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  # uvicorn's signature
        """Begin to end, or end."""
        if self._ends_at is not None:
            os._exit(128 + sig)
        self._lifecycle.is_draining = True
        self._ends_at = time.monotonic() + (self._drain_s if sig == signal.SIGTERM else 0)

    async def on_tick(self, counter: int) -> bool:
        """Whether to end; uvicorn asks ten times a second."""
        if self._ends_at is not None and time.monotonic() >= self._ends_at:
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening and finish what has come.

        A listener that is closed resets the connections that wait in its queue: they are taken out of it first.
        """
        loop = asyncio.get_running_loop()
        waiting: list[socket.socket] = []
        for server in self.servers:
            waiting += [connection for listener in server.sockets for connection in _waiting(listener)]
            server.close()
        for connection in waiting:
            await loop.connect_accepted_socket(self._protocol, connection)
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        return BoundedProtocol(self.config, self.server_state, self.lifespan.state)


def server_config(app: object, *, host: str, port: int, grace_s: float) -> uvicorn.Config:
    """Settings of uvicorn; `grace_s` bounds how long what is in flight may take at the end."""
    return uvicorn.Config(
        app,  # type: ignore[arg-type]  # an ASGI application; uvicorn's own types are narrower than its use
        host=host.strip("[]"),
        port=port,
        http=BoundedProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(grace_s),
    )


def _waiting(listener: socket.socket) -> Iterator[socket.socket]:
    """The connections in the queue of a listener; what the event loop calls a socket cannot accept by itself."""
    with socket.socket(listener.family, listener.type, fileno=os.dup(listener.fileno())) as own:
        own.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                yield own.accept()[0]
