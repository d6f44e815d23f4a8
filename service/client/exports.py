"""Exports: a task model as a file."""

import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote

from service.client.connection import Connection

ExportFormat = Literal["onnx", "safetensors"]

EXPORT_WAIT_S = 240.0
"""How long the service may take to make a file, beyond the usual."""

_NAMED = re.compile(r"filename\*=UTF-8''([^;\s]+)")


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A task model as bytes; `filename` is what the service calls it, and never a path."""

    filename: str
    data: bytes = field(repr=False)


def export(connection: Connection, path: str, kind: ExportFormat, *, version: int | None) -> ExportedFile:
    """The file of a version."""
    params = {"format": kind} | ({} if version is None else {"version": version})
    response = connection.get(path, params, wait_s=EXPORT_WAIT_S)
    named = _NAMED.search(response.headers.get("Content-Disposition", ""))
    filename = unquote(named[1]) if named else ""
    return ExportedFile(re.sub(r"[^\w.-]|^\.+", "-", filename) or f"task.{kind}", response.content)
