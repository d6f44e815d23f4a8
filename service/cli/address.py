"""Which service a command talks to."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from service.client import Client

DEFAULT_URL = "http://127.0.0.1:8000"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a service is, and the key that opens it."""

    url: str
    api_key: str | None = field(repr=False)


def connect(ctx: typer.Context) -> "Client":
    """A client of the service that the command line or the environment names."""
    from service.client import Client  # noqa: PLC0415  # httpx is not needed to print a help text

    address = ctx.find_object(Address) or Address(DEFAULT_URL, None)
    return Client(address.url, address.api_key)
