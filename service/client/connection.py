"""The connection to a service: timeouts, bounded repeats, problem documents as exceptions.

Why not everything is repeated: what a request asked for may have been done although its answer was lost. Reads change
nothing, and what makes something carries an idempotency key, so that the service does it once.
"""

import io
import ipaddress
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from typing import Any, TypedDict, Unpack

import httpx

from service.error_names import error_class
from service.errors import BadItem, DeadlineExceeded, ServiceError, Unavailable, UploadRejected

GET_TRIES = 4
MAKE_PAUSES_S = (0.5, 1.0, 2.0, 4.0, *(5.0,) * 11)
"""Together a minute: longer than a restart on a busy machine (38 s), and than a killed service's idempotency keys stay
taken. A service that asks for a longer pause gets it; one that asks for a shorter one says nothing of how many."""

MAX_PAUSE_S = 10.0
IDEMPOTENCY_KEY = "Idempotency-Key"
PAGE_ITEMS = 100


class ServiceUnreachable(Unavailable):
    """No service answers at this address."""


class Content(TypedDict, total=False):
    """What a request carries, in httpx's words."""

    params: Mapping[str, Any] | None
    json: Mapping[str, Any]
    data: Mapping[str, Any]
    files: Sequence[tuple[str, tuple[str, io.RawIOBase]]]
    content: Iterator[bytes]
    headers: Mapping[str, str]


class Connection:
    """Requests to one service.

    Attributes:
        base_url: where the service is, without `/v1`.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None,
        timeout_s: float,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._timeout_s = timeout_s
        self._http = httpx.Client(
            base_url=self.base_url,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=timeout_s,
            transport=transport,
            trust_env=not _is_loopback(self.base_url),  # a proxy of the environment does not reach the own machine
        )

    def close(self) -> None:
        """Give the sockets back."""
        self._http.close()

    def get(self, path: str, params: Mapping[str, Any] | None = None, *, wait_s: float = 0.0) -> httpx.Response:
        """A read; repeated a few times while the service says that it will be back.

        `wait_s` is how long the service may work before it answers.

        Raises:
            ServiceError: the class that the problem document names, or ServiceUnreachable.
        """
        for _ in range(GET_TRIES - 1):
            response = self._exchange("GET", path, params=params, wait_s=wait_s)
            pause_s = _retry_after_s(response)
            if pause_s is None:
                return checked(response)
            time.sleep(min(pause_s, MAX_PAUSE_S))
        return checked(self._exchange("GET", path, params=params, wait_s=wait_s))

    def pages(self, path: str, params: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The items of a list, page by page."""
        cursor: dict[str, str] = {}
        while True:
            page = self.get(path, {"limit": PAGE_ITEMS} | dict(params) | cursor).json()
            yield from page["items"]
            if not page.get("next_cursor"):
                return
            cursor = {"cursor": page["next_cursor"]}

    def send(self, method: str, path: str, *, wait_s: float = 0.0, **content: Unpack[Content]) -> httpx.Response:
        """Anything but a read, sent once; `wait_s` is how long the service was asked to work before it answers.

        Raises:
            ServiceError: the class that the problem document names, or ServiceUnreachable.
        """
        return checked(self._exchange(method, path, wait_s=wait_s, **content))

    def make(
        self, path: str, *, key: str | None = None, wait_s: float = 0.0, **content: Unpack[Content]
    ) -> httpx.Response:
        """A POST that makes something once, sent again where the connection broke or the service says it will be back.

        `key` is its idempotency key, one of its own if none is given; the content must be one that can be sent again.
        """
        key = key or str(uuid.uuid4())
        content["headers"] = {IDEMPOTENCY_KEY: key}
        was_there = False
        for pause_s in (*MAKE_PAUSES_S, None):
            try:
                response = self._exchange("POST", path, wait_s=wait_s, **content)
            except (ServiceUnreachable, DeadlineExceeded) as error:
                was_there = was_there or _is_loss(error)
                if pause_s is None or not was_there:
                    error.add_note(f"idempotency key {key}")
                    raise
                time.sleep(pause_s)
                continue
            asked_s = _retry_after_s(response)
            if pause_s is None or asked_s is None:
                break
            time.sleep(max(pause_s, min(asked_s, MAX_PAUSE_S)))
        return checked(response)

    def answers(self, path: str) -> bool:
        """Whether this address answers 200 at once."""
        try:
            return self._exchange("GET", path).status_code == HTTPStatus.OK
        except (ServiceUnreachable, DeadlineExceeded):
            return False

    def lines(self, path: str) -> Iterator[str]:
        """The lines of an answer as they come, until it ends or the connection breaks; opened a few times as `get` is.

        Raises:
            ServiceError: the class that the problem document names, or ServiceUnreachable.
        """
        self.get(path.rpartition("/")[0])  # raises, and waits, where there is nothing to follow
        try:
            with self._http.stream("GET", path, timeout=self._timeout_s) as response:
                if not response.is_success:
                    response.read()
                    raise _error(response)
                yield from response.iter_lines()
        except (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ReadTimeout):
            time.sleep(MAKE_PAUSES_S[0])

    def sent_lines(self, path: str, *, wait_s: float = 0.0, **content: Unpack[Content]) -> Iterator[str]:
        """The lines of the answer to a POST as they come, asked for as server-sent events; sent once.

        Raises:
            ServiceError: the class that the problem document names, or ServiceUnreachable, also in between.
        """
        content["headers"] = {"Accept": "text/event-stream"}
        with self._told_apart(wait_s) as timeout, ExitStack() as stack:
            # httpx's types know no raw files
            streamed = self._http.stream("POST", path, timeout=timeout, **content)  # type: ignore[arg-type]
            response = stack.enter_context(streamed)
            if not response.is_success:
                response.read()
            checked(response)
            yield from response.iter_lines()

    def _exchange(self, method: str, path: str, *, wait_s: float = 0.0, **content: Unpack[Content]) -> httpx.Response:
        with self._told_apart(wait_s) as timeout:
            return self._http.request(method, path, timeout=timeout, **content)  # type: ignore[arg-type]

    @contextmanager
    def _told_apart(self, wait_s: float) -> Iterator[httpx.Timeout]:
        """The time that an exchange may take; what goes wrong in it becomes an error of ours."""
        try:
            yield httpx.Timeout(self._timeout_s, read=self._timeout_s + wait_s)
        except httpx.ReadTimeout as error:
            waited_s = self._timeout_s + wait_s
            raise DeadlineExceeded(f"{self.base_url} did not answer within {waited_s:.0f} s") from error
        except httpx.InvalidURL as error:
            raise ServiceUnreachable(f"{self.base_url} is not an address: {error}") from error
        except httpx.RequestError as error:
            reason = str(error) or type(error).__name__
            raise ServiceUnreachable(f"no answer from {self.base_url}: {reason}; is it serving there?") from error


def checked(response: httpx.Response) -> httpx.Response:
    """The response, if it is a success.

    Raises:
        ServiceError: the class that the problem document names; a note carries the request id.
    """
    if response.is_success:
        return response
    error = _error(response)
    if request_id := response.headers.get("X-Request-Id"):
        error.add_note(f"request id {request_id}")
    raise error


def _error(response: httpx.Response) -> ServiceError:
    problem = _problem(response)
    if problem is None:
        said = f"{response.status_code} {response.reason_phrase}".strip()
        return ServiceError(f"{response.url.copy_with(query=None)} answered {said} without saying why")
    return error_of({"status": response.status_code, **problem})


def error_of(problem: Mapping[str, Any]) -> ServiceError:
    """The error that a problem document tells of."""
    cls = error_class(str(problem.get("type", "")).rpartition("/")[2])
    message = str(problem.get("detail") or problem.get("title") or cls.title())
    items = tuple(_bad_item(item) for item in problem.get("errors") or ())
    if issubclass(cls, UploadRejected):
        return cls(message, items, int(problem.get("status", cls.status)))
    details = [f"{item.pointer} {item.detail}".strip() for item in items if item.detail not in message]
    return cls("; ".join([message, *details]))


def _problem(response: httpx.Response) -> dict[str, Any] | None:
    try:
        document = response.json()
    except ValueError:
        return None
    return document if isinstance(document, dict) and ("type" in document or "detail" in document) else None


def _bad_item(raw: Mapping[str, Any]) -> BadItem:
    return BadItem(
        pointer=raw.get("pointer") or "",
        code=raw.get("code") or "",
        detail=raw.get("detail") or "",
        filename=raw.get("filename"),
    )


def _retry_after_s(response: httpx.Response) -> float | None:
    """How long to pause before the same again; None where the service does not ask for it."""
    if response.status_code not in {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.CONFLICT}:
        return None
    try:
        return max(0.0, float(response.headers["Retry-After"]))
    except (KeyError, ValueError):
        return None


def _is_loss(error: ServiceError) -> bool:
    """Whether there was a connection, and it broke."""
    cause = error.__cause__
    return isinstance(cause, httpx.NetworkError | httpx.RemoteProtocolError) and not isinstance(
        cause, httpx.ConnectError
    )


def _is_loopback(url: str) -> bool:
    try:
        host = httpx.URL(url).host
    except httpx.InvalidURL:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
