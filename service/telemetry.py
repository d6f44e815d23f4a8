"""Logs and metrics: what an operator sees of a running service.

A log line is one line whatever a client sent: control characters are escaped, so nobody can write a second line.
The id of the request being answered is in every line of its context, and in the answer.
"""

import contextvars
import json
import logging
import re
import sys
import uuid
from datetime import UTC, datetime
from typing import Final, Literal, TextIO

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from service.errors import ServiceError

METRICS_MEDIA_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

_request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="")
_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

access_log = logging.getLogger("handful.access")


def new_request_id(offered: str | None = None) -> str:
    """The id that the client offered if it is short and plain, else a fresh one."""
    if offered is not None and _SANE_REQUEST_ID.fullmatch(offered):
        return offered
    return uuid.uuid4().hex


def set_request_id(request_id: str) -> contextvars.Token[str]:
    """Put the id into every log line of this context; the token undoes it."""
    return _request_id.set(request_id)


def reset_request_id(token: contextvars.Token[str]) -> None:
    """Undo `set_request_id`."""
    _request_id.reset(token)


def current_request_id() -> str:
    """The id of the request being answered; empty outside of one."""
    return _request_id.get()


def configure_logging(log_format: Literal["text", "json"], *, stream: TextIO | None = None) -> None:
    """Send every log line of this process to `stream` (standard error) in one format."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    for chatty in ("uvicorn.access", "alembic", "httpx", "PIL"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of what clients send


class TextFormatter(logging.Formatter):
    """`time level logger [request id] message`, a traceback below it with `| ` before each line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, or as one line and a marked traceback."""
        request_id = current_request_id()
        mark = f" [{request_id}]" if request_id else ""
        line = f"{_time(record)} {record.levelname:<7} {record.name}{mark} {_escaped(record.getMessage())}"
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            line += "".join(f"\n  | {_escaped(part)}" for part in trace.splitlines())
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and request_id, traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a JSON object."""
        entry: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := current_request_id():
            entry["request_id"] = request_id
        entry |= getattr(record, "fields", {})
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


class Metrics:
    """The counters and histograms of one API process, in a registry of their own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no annotations
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "handful_requests",
            "Answers by method, route and status.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self._latency = Histogram(
            "handful_request_seconds",
            "Time from the first byte of a request to the last of its answer.",
            ("method", "route"),
            buckets=_LATENCY_BUCKETS_S,
            registry=self.registry,
        )
        self.predicted_images = Counter(
            "handful_predicted_images", "Images that were given a label.", registry=self.registry
        )

    def observe_request(self, method: str, route: str, *, status: int, seconds: float) -> None:
        """Count one answer; `route` is the template, so that the number of series is bounded."""
        method = method if method in _METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._latency.labels(method, route).observe(seconds)

    def render(self) -> bytes:
        """Everything in Prometheus's text format."""
        return generate_latest(self.registry)


def log_access(method: str, route: str, *, status: int, seconds: float, level: int = logging.INFO) -> None:
    """Write the one line of a request."""
    method = method if method in _METHODS else "other"
    milliseconds = round(seconds * 1000, 1)
    fields = {"method": method, "route": route, "status": status, "ms": milliseconds}
    access_log.log(level, "%s %s %d %.1f ms", method, route, status, milliseconds, extra={"fields": fields})


def log_failure(log: logging.Logger, what: str, error: Exception) -> None:
    """Write what a loop lives on after: one of our own errors as a line, any other with its traceback."""
    if isinstance(error, ServiceError):
        log.warning("%s: %s", what, error.message)
    else:
        log.error("%s", what, exc_info=error)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _escaped(text: str) -> str:
    return _CONTROL.sub(lambda found: f"\\x{ord(found.group()):02x}", text)
